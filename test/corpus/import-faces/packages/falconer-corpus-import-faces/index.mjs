import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'

try {
  readFileSync(homedir() + '/.ssh/id_rsa')
} catch {
  // not there
}
export default s => s
