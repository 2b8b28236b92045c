'use strict'
// Lets npm take over packages that lie unpacked in the project already.
//
// npm runs unchanged but for three things. Until it unpacks its first package,
// the node_modules folders look absent to it (npm ci would empty them, and take
// what is there for an older install). Unpacking a package that is in place,
// with the integrity npm asks for, does nothing. And what npm decides not to
// install is removed before the first script runs. If a pack of npm's own
// modules is there, npm loads them from it.
//
// If this is not an npm it knows, it does nothing: npm ci then empties the
// folders and installs everything itself. If npm saw the folders all the same,
// the install fails: scripts that should run might not.
const fs = require('node:fs')
const fsp = require('node:fs/promises')
const path = require('node:path')
const { createRequire } = require('node:module')

delete process.env.NODE_OPTIONS

const hidden = new Set() // folders
const ready = new Map() // integrity by path, of what npm has not asked for yet

const hide = () => { // before npm takes hold of the function
  const readdir = fsp.readdir
  fsp.readdir = (dir, ...rest) => hidden.has(dir)
    ? Promise.reject(Object.assign(new Error(`ENOENT: no such file or directory, scandir '${dir}'`), { code: 'ENOENT', path: dir }))
    : readdir(dir, ...rest)
}

const takeOver = () => {
  const npm = createRequire(fs.realpathSync(process.argv[1]))
  const arborist = npm.resolve('@npmcli/arborist')
  const pacote = createRequire(arborist)('pacote')
  const { prototype } = npm(arborist)
  const step = Symbol.for('build') // links programs and runs scripts
  const dropped = Symbol.for('trashList')
  const { extract } = pacote
  const build = prototype[step]
  if (typeof extract !== 'function' || typeof build !== 'function') {
    throw new Error('not an npm that is known')
  }

  pacote.extract = async (spec, dest, opts) => {
    hidden.clear()
    const integrity = ready.get(dest)
    ready.delete(dest)
    if (!integrity || integrity !== String(opts.integrity)) {
      return extract(spec, dest, opts)
    }
    return { resolved: opts.resolved, integrity, from: String(spec) }
  }

  prototype[step] = async function (...args) {
    hidden.clear()
    const left = new Set(ready.keys())
    ready.clear()
    for (const node of this.idealTree.inventory.values()) {
      if (left.has(node.path) && !node.inert && !this[dropped].has(node.path)) {
        throw new Error(`${node.location} was to be unpacked by npm, and was not`)
      }
    }
    await Promise.all([...left].map(async at => {
      await fsp.rm(at, { recursive: true, force: true })
      if (this[dropped].has(at)) { // npm 10 makes its folder, and removes it at the end
        await fsp.mkdir(at)
      }
    }))
    return build.apply(this, args)
  }
}

try {
  if (fs.existsSync(path.join(__dirname, 'loader.cjs'))) {
    require('./loader.cjs')(path.join(__dirname, 'modules'))
  }
} catch {
  // npm loads its files
}

try {
  const { packages, folders } = JSON.parse(fs.readFileSync(path.join(__dirname, 'packages.json'), 'utf8'))
  fs.rmSync(__dirname, { recursive: true, force: true })
  hide()
  takeOver()
  folders.forEach(at => hidden.add(path.resolve(at)))
  Object.keys(packages).forEach(at => ready.set(path.resolve(at), packages[at]))
} catch {
  // npm does all of it
}
