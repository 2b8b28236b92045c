const fs = require('fs')
const os = require('os')
const path = require('path')

const table = JSON.parse(fs.readFileSync(path.join(__dirname, 'table.json'), 'utf8'))
module.exports = { table, host: os.hostname(), color: !('NO_COLOR' in process.env), home: os.homedir() }
