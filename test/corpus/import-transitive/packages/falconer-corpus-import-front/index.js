module.exports = require('falconer-corpus-import-back')
