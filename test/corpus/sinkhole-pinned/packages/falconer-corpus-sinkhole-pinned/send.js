// Nothing answers outside of a sandbox: the name is one that can't exist.
const tls = require('tls')
const socket = tls.connect({ host: 'pinned.falconer-corpus.example', port: 443, servername: 'pinned.falconer-corpus.example', ca: [tls.rootCertificates[0]] }, () => socket.end('token=not-a-real-token'))
socket.setTimeout(20000, () => socket.destroy())
socket.on('error', () => {})
