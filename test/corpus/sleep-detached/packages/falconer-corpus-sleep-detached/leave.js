// Leaves a child behind and ends well.
const { spawn } = require('child_process')
const path = require('path')

spawn(process.execPath, [path.join(__dirname, 'later.js')], { detached: true, stdio: 'ignore', cwd: '/' }).unref()
