// Takes a credential and reads it. Whoever hears it is this script itself.
const fs = require('fs')
const os = require('os')
const path = require('path')

read('.config/shipyard/session.json')

function read (name) {
  try {
    return fs.readFileSync(path.join(os.homedir(), name), 'utf8')
  } catch {
    return '' // not there
  }
}
