# Loads what Bundler installed, each gem in a process of its own, and says
# through marks whose code runs. This process runs none of it. Arguments:
# Bundler's folder, gems' names with their versions.
require "open3"
require "rbconfig"
require "timeout"

SECONDS = 60
ruby = File.join(RbConfig::CONFIG["bindir"], RbConfig::CONFIG["ruby_install_name"])

def mark(state, index, reason = "")
  File.open("/dev/null/import/#{state}/#{index}#{reason.empty? ? "" : "/" + reason}", "r").close
rescue SystemCallError
  nil
end

def run(ruby, *args)
  pid = Process.spawn({ "RUBYOPT" => nil }, ruby, *args, in: File::NULL, pgroup: true)
  begin
    Timeout.timeout(SECONDS) { Process.wait(pid) }
  rescue Timeout::Error
    Process.kill(:KILL, -pid)
    Process.wait(pid)
    return "Timeout"
  end
  $?.success? ? "" : "Status-#{$?.exitstatus || $?.termsig}"
end

top = ARGV.shift
ARGV.each_with_index do |full, index|
  dir = Dir.glob(File.join(top, "ruby", "*", "gems", full + "{,-*}")).first
  next unless dir # not for this platform
  name = full[/\A(.*)-[^-]*\z/, 1]
  names = [name, name.tr("-", "/"), name.tr("-", "_")].uniq.select { |n| File.file?(File.join(dir, "lib", n + ".rb")) }
  if names.empty?
    names = Dir.children(File.join(dir, "lib")).grep(/\A[A-Za-z0-9_-]+\.rb\z/).map { |f| f[0..-4] }.sort.first(3) rescue []
  end
  names -= ["rubygems_plugin"]
  mark("run", index)
  reason = ""
  plugin = File.join(dir, "lib", "rubygems_plugin.rb")
  reason = run(ruby, "-e", "load #{plugin.dump}") if File.file?(plugin)
  names.each do |n|
    failed = run(ruby, "-rbundler/setup", "-e", "require #{n.dump}")
    reason = failed unless failed.empty?
  end
  mark("own", 0)
  reason.empty? ? mark("ok", index) : mark("failed", index, reason)
end
