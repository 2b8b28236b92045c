'use strict'
// Writes npm's own modules, and what each of them requires, into one file.
// Usage: node maker.cjs NPM OUT, with the real path of npm's program.
//
// It runs none of them: node resolves what their source names. What is named
// in another way than require('...') is not in the pack, and loaded as ever.
const fs = require('node:fs')
const path = require('node:path')
const { createRequire, isBuiltin } = require('node:module')

const [main, out] = process.argv.slice(2)
const root = path.dirname(path.dirname(main)) + path.sep
const maxFiles = 5000
const maxFile = 4 << 20

const index = new Map() // place in files by path
const files = [] // {path, content}, in the order found
const edges = {} // place by request by folder
const types = new Map() // of packages, by folder

const isModule = folder => { // as node decides what a .js file is
  if (!types.has(folder)) {
    let found
    try {
      found = JSON.parse(fs.readFileSync(path.join(folder, 'package.json'), 'utf8')).type === 'module'
    } catch (err) {
      if (err.code !== 'ENOENT') {
        throw err
      }
      found = folder.startsWith(root) && path.basename(folder) !== 'node_modules' && isModule(path.dirname(folder))
    }
    types.set(folder, found)
  }
  return types.get(folder)
}

const add = file => {
  if (!index.has(file)) {
    const ext = path.extname(file)
    if (!file.startsWith(root) || !['.js', '.cjs', '.json'].includes(ext) || ext === '.js' && isModule(path.dirname(file))) {
      return undefined
    }
    const content = fs.readFileSync(file)
    if (content.length > maxFile || files.length >= maxFiles || !Buffer.from(content.toString()).equals(content)) {
      return undefined
    }
    index.set(file, files.length)
    files.push({ path: file, content })
  }
  return index.get(file)
}

const link = (file, request) => {
  const folder = path.dirname(file)
  edges[folder] ??= Object.create(null)
  if (isBuiltin(request) || request in edges[folder]) {
    return
  }
  let to
  try {
    to = createRequire(file).resolve(request)
  } catch {
    return // named in a comment, or optional
  }
  const at = add(to)
  if (at !== undefined) {
    edges[folder][request] = at
  }
}

add(main)
link(main, '../lib/cli/entry.js')
link(main, '../lib/commands/ci.js')
link(main, '@npmcli/arborist')
const arborist = edges[path.dirname(main)]['@npmcli/arborist']
if (arborist !== undefined) {
  link(files[arborist].path, 'pacote')
}
for (let i = 0; i < files.length; i++) {
  if (!files[i].path.endsWith('.json')) {
    for (const [, , request] of files[i].content.toString().matchAll(/\brequire\(\s*(['"])([^'"\n\\]+)\1\s*\)/g)) {
      link(files[i].path, request)
    }
  }
}

const head = JSON.stringify({
  node: process.version,
  main,
  files: files.map(f => [f.path, f.content.length]),
  edges,
})
fs.writeFileSync(out, Buffer.concat([Buffer.from(head + '\n'), ...files.map(f => f.content)]))
