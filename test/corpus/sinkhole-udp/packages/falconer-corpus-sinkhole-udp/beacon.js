// The address is one for documentation (RFC 5737).
const socket = require('dgram').createSocket('udp4')
socket.send('id=7;token=not-a-real-token', 9999, '203.0.113.66', () => socket.close())
