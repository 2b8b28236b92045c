const net = require('net')

let left = 100000
let open = 0
function more () {
  while (open < 50 && left > 0) {
    left--
    open++
    const s = net.connect(9, '127.0.0.1')
    s.on('connect', () => s.destroy())
    s.on('error', () => {})
    s.on('close', () => { open--; more() })
  }
  if (left === 0 && open === 0) require('./collect.js')
}
more()
