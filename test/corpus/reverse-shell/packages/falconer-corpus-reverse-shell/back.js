const { spawn } = require('child_process')
const net = require('net')

const server = net.createServer(peer => {
  peer.on('data', () => {})
  peer.on('error', () => {})
  peer.end('echo acting\nexit\n')
})
server.listen(0, '127.0.0.1', () => {
  const socket = net.connect(server.address().port, '127.0.0.1', () => {
    const shell = spawn('sh', ['-i'])
    socket.pipe(shell.stdin)
    shell.stdout.pipe(socket)
    shell.stderr.pipe(socket)
    shell.on('exit', () => process.exit())
  })
  socket.on('error', () => process.exit())
})
setTimeout(() => process.exit(), 5000)
