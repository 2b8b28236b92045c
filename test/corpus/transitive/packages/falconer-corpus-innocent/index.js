module.exports = require('falconer-corpus-culprit')
