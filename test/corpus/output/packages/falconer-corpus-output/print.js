const line = Buffer.alloc(1 << 20, 'acting out a flood of output\n')
for (let i = 0; i < 200; i++) {
  for (let done = 0; done < line.length;) done += write(line.subarray(done))
}
function write (b) {
  try {
    return require('fs').writeSync(1, b)
  } catch (err) {
    if (err.code !== 'EAGAIN') throw err
    return 0
  }
}
