'use strict';
// Loads what a project's users load, one package after the other, and says
// which one's code runs by opening a path that can't exist: see Mark.
//
// It stands in for the project's own start: the main module is an index.js in
// its root. Packages are asked for by require(), and by import() where they
// have another face for that. One that ends the process, fails or never ends is
// passed over. Timers that packages leave behind come early, since nobody waits
// here for long.
(() => {
  const fs = require('fs')
  const path = require('path')
  const Module = require('module')
  const hooks = require('async_hooks')
  const timers = require('timers')
  const { openSync, readFileSync } = fs
  const { setTimeout: later, setImmediate: soon } = timers
  const work = process.cwd()
  const plan = JSON.parse(process.argv.pop())
  const perPackage = 10000
  const atEnd = 2000 // milliseconds
  const soonest = 1000
  process.argv.splice(1, Infinity, path.join(work, 'index.js'))

  const mark = what => {
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    try { openSync('/dev/null/import/' + what, 'r') } catch {} finally { Error.stackTraceLimit = limit }
  }
  let current = ''
  const enter = what => {
    if (what && what !== current) {
      current = what
      mark(what)
    }
  }

  const known = new Map() // mark by folder
  const owner = file => {
    const i = typeof file === 'string' ? file.lastIndexOf('/node_modules/') : -1
    if (i < 0) return ''
    const rest = file.slice(i + 14).split('/', 2)
    const dir = file.slice(0, i + 14) + (rest[0][0] === '@' ? rest.join('/') : rest[0])
    let what = known.get(dir)
    if (what === undefined) {
      let version = '-'
      if (plan.versions) {
        try { version = String(JSON.parse(readFileSync(dir + '/package.json', 'utf8')).version).replace(/[^0-9A-Za-z.+-]/g, '') || '-' } catch {}
      }
      what = 'in/' + version + '/' + path.relative(work, dir)
      known.set(dir, what)
    }
    return what
  }
  const { load } = Module.prototype
  if (load) {
    Module.prototype.load = function (file) {
      const was = current
      enter(owner(file))
      try { return load.apply(this, arguments) } finally { enter(was) }
    }
  }
  const owners = new Map()
  const was = []
  try {
    hooks.createHook({
      init (id) { owners.set(id, current) },
      before (id) { was.push(current); enter(owners.get(id)) },
      after () { enter(was.pop()) },
      destroy (id) { owners.delete(id) }
    }).enable()
  } catch {}

  const early = from => {
    const to = function (f, ms, ...rest) { return from(f, Math.min(Number(ms) || 0, soonest), ...rest) }
    return Object.defineProperties(to, Object.getOwnPropertyDescriptors(from))
  }
  globalThis.setTimeout = timers.setTimeout = early(timers.setTimeout)
  globalThis.setInterval = timers.setInterval = early(timers.setInterval)

  const main = new Module(path.join(work, 'index.js'), null)
  main.filename = path.join(work, 'index.js')
  main.paths = Module._nodeModulePaths ? Module._nodeModulePaths(work) : []
  main.loaded = true
  process.mainModule = main
  const end = process.reallyExit ? process.reallyExit.bind(process) : process.exit.bind(process)
  const stop = () => { throw Object.assign(new Error('process.exit'), { code: 'PROCESS_EXIT' }) }
  process.exit = stop
  process.on('uncaughtException', () => {})
  process.on('unhandledRejection', () => {})

  const asker = from => { // as code in that folder
    const dir = path.join(work, from)
    const m = new Module(path.join(dir, 'index.js'), null)
    m.filename = path.join(dir, 'index.js')
    m.paths = Module._nodeModulePaths ? Module._nodeModulePaths(dir) : []
    m._compile('exports.require = require; exports.import = s => import(s)', m.filename)
    return m.exports
  }
  const reason = err => String((err && (err.code || err.name)) || 'Error').replace(/[^\w-]/g, '').slice(0, 64) || 'Error'
  const within = (promise, ms) => new Promise((resolve, reject) => {
    const t = later(() => reject(Object.assign(new Error('too long'), { code: 'TIMEOUT' })), ms)
    promise.then(v => { clearTimeout(t); resolve(v) }, e => { clearTimeout(t); reject(e) })
  })
  const manifestOf = (ask, name) => {
    for (const dir of ask.require.resolve.paths(name) || []) {
      try { return JSON.parse(readFileSync(path.join(dir, name, 'package.json'), 'utf8')) } catch {}
    }
    return null
  }
  const typesOnly = m => m && !m.main && !m.exports && !m.module && !m.bin && !!(m.types || m.typings || m.name.startsWith('@types/'))
  const once = async (ask, name, m) => {
    const faces = m && m.exports ? JSON.stringify(m.exports) : ''
    const esm = !!m && m.type === 'module'
    if (typesOnly(m)) return
    if (!esm || /"(require|node|default)":/.test(faces)) {
      try {
        ask.require(name)
        if (!/"import":/.test(faces)) return
      } catch (err) {
        if (!esm && !faces && err.code !== 'ERR_REQUIRE_ESM') throw err
      }
    }
    await within(ask.import(name), perPackage)
  }
  const settle = async () => {
    await new Promise(resolve => soon(resolve))
    for (let i = 0; i < 5 && process.getActiveResourcesInfo && process.getActiveResourcesInfo().some(r => /^(FSReq|GetAddrInfo)/.test(r)); i++) {
      await new Promise(resolve => later(resolve, 2))
    }
  }
  const builds = dir => {
    try {
      const { scripts } = JSON.parse(readFileSync(path.join(work, dir, 'package.json'), 'utf8'))
      return !!scripts && !!(scripts.preinstall || scripts.install || scripts.postinstall)
    } catch { return false }
  }

  const all = async () => {
    const jobs = [
      ...plan.ask.map(([name, from]) => () => { const ask = asker(from); return once(ask, name, manifestOf(ask, name)) }),
      ...plan.load.map(dir => () => fs.existsSync(path.join(work, dir)) && once(asker('.'), path.join(work, dir), null)),
      ...plan.look.map(dir => () => builds(dir) && once(asker('.'), path.join(work, dir), null))
    ]
    const looked = plan.ask.length + plan.load.length
    for (let i = 0; i < jobs.length; i++) {
      if (i >= looked && !builds(plan.look[i - looked])) continue
      enter('run/' + i)
      try {
        await jobs[i]()
        await settle()
        mark('ok/' + i)
      } catch (err) {
        mark('failed/' + i + '/' + reason(err))
      }
      enter('own/0')
    }
    later(() => end(0), atEnd).unref()
    process.on('exit', () => end(0))
  }
  all()
})()
