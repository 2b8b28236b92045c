module.exports = require('./lib/main.js')
