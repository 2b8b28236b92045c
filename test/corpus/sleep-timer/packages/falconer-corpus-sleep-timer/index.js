module.exports = s => s
