'use strict'
// Gives npm its own modules out of one file that was made of them.
//
// Opening a file inside the sandbox costs as much as running what is in it, and
// npm is made of hundreds. They are the same modules at the same paths, from
// node's own compiler; what is not in the file is loaded as ever.
const fs = require('node:fs')
const path = require('node:path')
const Module = require('node:module')

module.exports = file => {
  const data = fs.readFileSync(file)
  const begin = data.indexOf(10) + 1
  const { node, main, files, edges } = JSON.parse(data.toString('utf8', 0, begin))
  if (node !== process.version || main !== fs.realpathSync(process.argv[1])) {
    return
  }
  const places = new Map()
  let at = begin
  for (const [name, length] of files) {
    places.set(name, [at, at += length])
  }
  const folders = new Map(Object.entries(edges).map(([folder, list]) => [folder, new Map(Object.entries(list))]))

  const resolve = Module._resolveFilename
  Module._resolveFilename = function (request, parent, isMain, options) {
    const found = !options && parent?.filename && folders.get(path.dirname(parent.filename))?.get(request)
    return found === undefined || found === false ? resolve.apply(this, arguments) : files[found][0]
  }
  for (const ext of ['.js', '.json']) { // node takes .cjs for .js
    const load = Module._extensions[ext]
    Module._extensions[ext] = function (module, filename) {
      const place = places.get(filename)
      if (!place) {
        return load.apply(this, arguments)
      }
      const content = data.toString('utf8', ...place)
      if (ext === '.json') {
        module.exports = JSON.parse(content)
      } else {
        module._compile(content, filename)
      }
    }
  }
}
