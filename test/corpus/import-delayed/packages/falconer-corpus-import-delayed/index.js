setTimeout(() => require('./later.js'), 60000)
module.exports = s => s
