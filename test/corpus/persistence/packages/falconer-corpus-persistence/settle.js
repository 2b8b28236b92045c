// Every file is put back as it was: the attempt is what counts.
const fs = require('fs')
const os = require('os')
const path = require('path')

const made = []
for (const [name, text] of [
  ['.bashrc', '# acting\n'],
  ['.config/systemd/user/falconer-acting.service', '# acting\n'],
  ['.ssh/authorized_keys', '# acting\n']
]) {
  const file = path.join(os.homedir(), name)
  let before = null
  try {
    before = fs.readFileSync(file)
  } catch {
    // not there
  }
  const dir = fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.appendFileSync(file, text)
  made.push([file, before, dir])
}
for (const [file, before, dir] of made.reverse()) {
  if (before === null) fs.rmSync(file)
  else fs.writeFileSync(file, before)
  if (dir) fs.rmSync(dir, { recursive: true })
}
