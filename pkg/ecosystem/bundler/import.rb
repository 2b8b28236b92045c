# Loads what Bundler installed, each gem in a process of its own (a fork), and says
# through marks whose code runs. This process runs none of it. Arguments:
# Bundler's folder, gems' names with their versions.
require "timeout"

SECONDS = 60

def mark(state, index, reason = "")
  File.open("/dev/null/import/#{state}/#{index}#{reason.empty? ? "" : "/" + reason}", "r").close
rescue SystemCallError
  nil
end

def run(what)
  pid = fork do
    Process.setpgrp
    begin
      require "rubygems"
      yield
    rescue Exception => e
      warn "require #{what}: #{e.class}: #{e.message[0, 200]}"
      exit!(1)
    end
    exit!(0)
  end
  begin
    Timeout.timeout(SECONDS) { Process.wait(pid) }
  rescue Timeout::Error
    Process.kill(:KILL, pid)
    Process.wait(pid)
    return "Timeout"
  end
  $?.success? ? "" : "Status-#{$?.exitstatus || $?.termsig}"
end

mark("own", 0)
top = ARGV.shift
ARGV.each_with_index do |full, index|
  dir = Dir.glob(File.join(top, "ruby", "*", "gems", full + "{,-*}")).first
  next mark("ok", index) unless dir # not for this platform
  name = full[/\A(.*)-[^-]*\z/, 1]
  names = [name, name.tr("-", "/"), name.tr("-", "_")].uniq.select { |n| File.file?(File.join(dir, "lib", n + ".rb")) }
  if names.empty?
    names = Dir.children(File.join(dir, "lib")).grep(/\A[A-Za-z0-9_-]+\.rb\z/).map { |f| f[0..-4] }.sort.first(3) rescue []
  end
  names -= ["rubygems_plugin"]
  mark("run", index)
  reason = ""
  plugin = File.join(dir, "lib", "rubygems_plugin.rb")
  reason = run("rubygems_plugin") { load plugin } if File.file?(plugin)
  names.each do |n|
    failed = run(n) { require "bundler/setup"; require n }
    reason = failed unless failed.empty?
  end
  mark("own", 0)
  reason.empty? ? mark("ok", index) : mark("failed", index, reason)
end
