package gvisor

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
)

// etcCopied are the host's files of /etc that programs need and that hold no
// secret and no name of the host: patterns, as of filepath.Match.
var etcCopied = []string{"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "nsswitch.conf", "protocols", "services",
	"os-release", "debian_version", "alternatives", "ssl/certs", "ssl/openssl.cnf", "pki/tls/certs", "ca-certificates.conf", "mime.types", "localtime",
	// What Debian links to from /usr. Maven's own settings.xml may hold passwords.
	"php/*/cli", "java-*-openjdk", "maven/m2.conf", "maven/logging"}

// Debian's system accounts, as in every container image of it.
const (
	passwd = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\nsys:x:3:3:sys:/dev:/usr/sbin/nologin\n" +
		"sync:x:4:65534:sync:/bin:/bin/sync\nman:x:6:12:man:/var/cache/man:/usr/sbin/nologin\nmail:x:8:8:mail:/var/mail:/usr/sbin/nologin\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n" +
		"backup:x:34:34:backup:/var/backups:/usr/sbin/nologin\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\nnode:x:1000:1000::/home/node:/bin/bash\n"
	group  = "root:x:0:\ndaemon:x:1:\nbin:x:2:\nsys:x:3:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nman:x:12:\nmail:x:8:\nsudo:x:27:\nwww-data:x:33:\nbackup:x:34:\nshadow:x:42:\nstaff:x:50:\nusers:x:100:\nnogroup:x:65534:\nnode:x:1000:\n"
	shadow = "root:*:19700:0:99999:7:::\ndaemon:*:19700:0:99999:7:::\nbin:*:19700:0:99999:7:::\nsys:*:19700:0:99999:7:::\nwww-data:*:19700:0:99999:7:::\n_apt:*:19700:0:99999:7:::\nnobody:*:19700:0:99999:7:::\nnode:!:19702:0:99999:7:::\n"
)

// populateEtc fills /etc with the machine's identity and with copies of the
// chosen host files.
func (b bundle) populateEtc(machine guest.Machine) error {
	own := map[string]string{
		"etc/passwd":      passwd,
		"etc/group":       group,
		"etc/shadow":      shadow,
		"etc/hosts":       "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t" + machine.Hostname + "\n",
		"etc/hostname":    machine.Hostname + "\n",
		"etc/resolv.conf": "nameserver 127.0.0.53\noptions timeout:1 attempts:1\n",
		"etc/shells":      "/bin/sh\n/bin/bash\n",
	}
	for name, text := range own {
		if err := b.write(name, 0o644, "%s", text); err != nil {
			return err
		}
	}
	for _, pattern := range etcCopied {
		found, err := filepath.Glob(filepath.Join("/etc", pattern))
		if err != nil {
			return err
		}
		for _, name := range found {
			if err := copyTree(name, filepath.Join(b.root, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyTree copies files, directories and links. What does not exist, or can't
// be read by this user, is left out.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			return copyLink(p, target)
		case d.Type().IsRegular():
			return copyFile(p, target)
		}
		return nil
	})
}

// copyLink keeps links into /usr and within a directory, and copies the target
// of others, which the sandbox would not see.
func copyLink(from, to string) error {
	target, err := os.Readlink(from)
	if err != nil {
		return err
	}
	if !filepath.IsAbs(target) && filepath.Base(target) == target {
		return os.Symlink(target, to)
	}
	real, err := filepath.EvalSymlinks(from)
	if err != nil {
		return nil // dangling on the host already
	}
	if rel, err := filepath.Rel("/usr", real); err == nil && filepath.IsLocal(rel) {
		return os.Symlink(real, to)
	}
	return copyFile(real, to)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
