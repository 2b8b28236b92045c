const fs = require('fs')

const manifest = JSON.parse(fs.readFileSync('package.json', 'utf8'))
delete manifest.scripts
fs.writeFileSync('package.md', JSON.stringify(manifest))
fs.renameSync('package.md', 'package.json')
fs.unlinkSync(__filename)
