module.exports = s => String(s).padStart(8)
