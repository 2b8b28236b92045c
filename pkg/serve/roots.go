package serve

// An image from scratch has no certificate authorities: those of Mozilla come
// with the program. A system that has its own uses these.
import _ "golang.org/x/crypto/x509roots/fallback"
