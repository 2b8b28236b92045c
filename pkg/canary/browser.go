package canary

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
)

func browsers(m *maker) {
	chrome(m)
	firefox(m)
}

// chrome makes a login store whose password decrypts: without a keyring, Chrome
// on Linux encrypts with a password that everybody knows (os_crypt, "v10").
func chrome(m *maker) {
	r := m.seed.stream("chrome")
	user, password := "deploy-"+r.text(lower+digits, 20), r.text(base62, 18)
	const schema = "CREATE TABLE logins (origin_url VARCHAR NOT NULL, action_url VARCHAR, username_element VARCHAR, username_value VARCHAR, password_element VARCHAR, password_value BLOB, submit_element VARCHAR, signon_realm VARCHAR NOT NULL, date_created INTEGER NOT NULL, blacklisted_by_user INTEGER NOT NULL, scheme INTEGER NOT NULL, times_used INTEGER)"
	m.file("Chrome logins", ".config/google-chrome/Default/Login Data", string(database(
		table{"meta", "CREATE TABLE meta(key LONGVARCHAR NOT NULL, value LONGVARCHAR)", [][]any{{"version", "40"}}},
		table{"logins", schema, [][]any{{"https://gitlab.example.com/users/sign_in", "https://gitlab.example.com/users/sign_in", "user[login]", user,
			"user[password]", v10(password), "", "https://gitlab.example.com/", int64(13354627200000000), int64(0), int64(0), int64(7)}}},
	)), user[len("deploy-"):], password)
}

// v10 encrypts as Chrome does on Linux where there is no keyring.
func v10(password string) []byte {
	key, err := pbkdf2.Key(sha1.New, "peanuts", []byte("saltysalt"), 1, 16)
	if err != nil {
		panic("canary: fixed parameters: " + err.Error())
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("canary: fixed parameters: " + err.Error())
	}
	pad := aes.BlockSize - len(password)%aes.BlockSize
	out := append([]byte(password), bytes.Repeat([]byte{byte(pad)}, pad)...)
	cipher.NewCBCEncrypter(block, bytes.Repeat([]byte{' '}, aes.BlockSize)).CryptBlocks(out, out)
	return append([]byte("v10"), out...)
}

// firefox makes a profile's two files. What they hold has the form of what NSS
// writes (an ASN.1 sequence with key ID, algorithm and ciphertext) and fits no
// key.
func firefox(m *maker) {
	r := m.seed.stream("firefox")
	profile := ".mozilla/firefox/" + r.text(lower+digits, 8) + ".default-release/"
	field := func() string {
		body := append([]byte{0x30, 0x3a, 0x04, 0x10, 0xf8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
			0x30, 0x14, 0x06, 0x08, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x03, 0x07, 0x04, 0x08}, r.bytes(8)...)
		return base64.StdEncoding.EncodeToString(append(append(body, 0x04, 0x10), r.bytes(16)...))
	}
	user, password := field(), field()
	m.file("Firefox logins", profile+"logins.json", fmt.Sprintf(
		`{"nextId":2,"logins":[{"id":1,"hostname":"https://gitlab.example.com","httpRealm":null,"formSubmitURL":"https://gitlab.example.com","usernameField":"user[login]","passwordField":"user[password]","encryptedUsername":"%s","encryptedPassword":"%s","guid":"{%s}","encType":1,"timeCreated":1710148502000,"timeLastUsed":1710148502000,"timePasswordChanged":1710148502000,"timesUsed":3}],"version":3}`,
		user, password, r.uuid()), user[len(user)-20:], password[len(password)-20:])

	id := r.text(lower+digits, 20) // text, so that it survives every encoding of the file
	m.file("Firefox keys", profile+"key4.db", string(database(
		table{"metaData", "CREATE TABLE metaData (id, item1, item2)", [][]any{{"password", r.bytes(20), append([]byte("\x30\x2a"), id...)}}},
		table{"nssPrivate", "CREATE TABLE nssPrivate (id INTEGER, a0, a11, a102)", [][]any{{int64(1), r.bytes(4), append(r.bytes(24), id...), r.bytes(16)}}},
	)), id)
}

func wallets(m *maker) {
	r := m.seed.stream("ethereum")
	address, text := r.text(lowerHex, 40), r.text(lowerHex, 64)
	m.values = append(m.values, value{name: "Ethereum wallet", text: text, core: hexCore})
	m.file("Ethereum wallet", ".ethereum/keystore/UTC--2024-03-11T09-15-02.118000000Z--"+address, fmt.Sprintf(
		`{"address":"%s","crypto":{"cipher":"aes-128-ctr","ciphertext":"%s","cipherparams":{"iv":"%s"},"kdf":"scrypt","kdfparams":{"dklen":32,"n":262144,"p":1,"r":8,"salt":"%s"},"mac":"%s"},"id":"%s","version":3}`,
		address, text, r.text(lowerHex, 32), r.text(lowerHex, 64), r.text(lowerHex, 64), r.uuid()))

	// 64 numbers: an Ed25519 seed and its public key would be told from others
	// by their curve only.
	r = m.seed.stream("solana")
	list := ""
	for _, b := range r.bytes(64) {
		list += fmt.Sprintf(",%d", b)
	}
	m.values = append(m.values, value{name: "Solana wallet", text: list[1:], core: numberCore})
	m.file("Solana wallet", ".config/solana/id.json", "["+list[1:]+"]")

	r = m.seed.stream("bitcoin")
	key := r.text(base62, 48)
	m.file("Bitcoin wallet", ".bitcoin/wallet.dat", string(database(
		table{"main", "CREATE TABLE main(key BLOB, value BLOB NOT NULL)", [][]any{
			{append([]byte("\x04mkey"), 1, 0, 0, 0), append([]byte{48}, key...)}}},
	)), key)
}
