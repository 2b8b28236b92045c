package canary

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
)

// ssh makes keys that ssh accepts. The one called id_rsa is no RSA key, whose
// making would take longer than a scan; ssh does not mind.
func ssh(m *maker) {
	for _, file := range []string{"id_ed25519", "id_rsa"} {
		r := m.seed.stream("ssh " + file)
		seed := r.bytes(ed25519.SeedSize)
		text := openSSH(ed25519.NewKeyFromSeed(seed), r.bytes(4), "build@"+r.text(lower, 8))
		lines := strings.Split(text, "\n")
		// The fourth line of the body has the private half, from bit 10 on.
		m.file("SSH key "+file, ".ssh/"+file, text, lines[4][6:48])
	}
}

// openSSH writes an unencrypted key in OpenSSH's own format (PROTOCOL.key in
// its sources). check stands in it twice, to tell a wrong password.
func openSSH(key ed25519.PrivateKey, check []byte, comment string) string {
	str := func(b []byte, s string) []byte {
		return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	}
	public := string(key.Public().(ed25519.PublicKey))
	blob := str(str(nil, "ssh-ed25519"), public)
	private := append(append([]byte(nil), check...), check...)
	private = str(str(str(str(private, "ssh-ed25519"), public), string(key)), comment)
	for i := byte(1); len(private)%8 != 0; i++ {
		private = append(private, i)
	}
	out := str(str(str([]byte("openssh-key-v1\x00"), "none"), "none"), "")
	out = binary.BigEndian.AppendUint32(out, 1)
	out = str(str(out, string(blob)), string(private))
	var b strings.Builder
	b.WriteString("-----BEGIN OPENSSH PRIVATE KEY-----\n")
	for s := base64.StdEncoding.EncodeToString(out); s != ""; {
		cut := min(70, len(s))
		b.WriteString(s[:cut] + "\n")
		s = s[cut:]
	}
	b.WriteString("-----END OPENSSH PRIVATE KEY-----\n")
	return b.String()
}

// gnupg makes a key as gpg-agent keeps it without a passphrase (GnuPG's
// agent/keyformat.txt, extended private key format).
func gnupg(m *maker) {
	r := m.seed.stream("gnupg")
	seed := r.bytes(ed25519.SeedSize)
	key := ed25519.NewKeyFromSeed(seed)
	secret := fmt.Sprintf("%X", seed)
	text := fmt.Sprintf("Created: 20240311T091502\nKey: (private-key (ecc (curve Ed25519)(flags eddsa)(q\n  #40%X#)(d #%s#)))\n",
		[]byte(key.Public().(ed25519.PublicKey)), secret)
	m.values = append(m.values, value{name: "GnuPG key", text: secret, core: hexCore})
	m.file("GnuPG key", ".gnupg/private-keys-v1.d/"+strings.ToUpper(r.text(lowerHex, 40))+".key", text)
}
