// Tries each way out that probe-targets.json of the project names and prints
// one line for each: "PROBE <name> <what came of it>". It only ever connects
// and closes, reads the names of files, and removes what it wrote.
const fs = require("fs");
const net = require("net");
const path = require("path");

const say = (name, what) => console.log(`PROBE ${name} ${what}`);
const targets = JSON.parse(fs.readFileSync(path.join(process.env.INIT_CWD, "probe-targets.json"), "utf8"));

for (const file of targets.absent) {
  let what = "absent";
  try {
    fs.accessSync(file);
    what = "present";
  } catch {}
  say("file:" + file, what);
}
for (const dir of targets.readonly) {
  let what = "refused";
  const file = path.join(dir, ".falconer-probe");
  try {
    fs.writeFileSync(file, "x");
    fs.rmSync(file);
    what = "written";
  } catch {}
  say("write:" + dir, what);
}
for (const name of targets.unset) {
  say("env:" + name, process.env[name] === undefined ? "unset" : "set");
}
say("uid", String(process.getuid()));
for (const { name, host, port } of targets.connect) {
  const socket = net.connect({ host, port });
  let done = false;
  const end = (what) => {
    if (!done) say("connect:" + name, what);
    done = true;
    socket.destroy();
  };
  socket.setTimeout(4000, () => end("silence"));
  socket.on("connect", () => end("open"));
  socket.on("error", (e) => end(e.code === "ECONNREFUSED" ? "refused" : "unreachable"));
}
