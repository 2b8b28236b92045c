// The address is the point; the answer, if there is one, is thrown away.
const req = require('http').get('http://169.254.169.254/latest/meta-data/', { timeout: 500 }, () => process.exit())
req.on('error', () => process.exit())
req.on('timeout', () => process.exit())
