package registry

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // cacache's own checksum of an index line
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// indexEntry is a line of cacache's index-v5: which content answers a request.
type indexEntry struct {
	Key       string        `json:"key"`
	Integrity string        `json:"integrity"`
	Time      int64         `json:"time"` // milliseconds since 1970
	Size      int64         `json:"size"`
	Metadata  indexMetadata `json:"metadata"`
}

type indexMetadata struct {
	Time       int64             `json:"time"`
	URL        string            `json:"url"`
	ReqHeaders map[string]string `json:"reqHeaders"`
	ResHeaders map[string]string `json:"resHeaders"`
	Options    map[string]bool   `json:"options"`
}

const requestKey = "make-fetch-happen:request-cache:"

// The Accept headers with which npm asks for a packument: npm's cache answers
// only a request whose Accept equals the stored one.
var packumentAccepts = []string{
	"application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*",
	"application/json",
}

func newIndexEntry(url, accept, contentType string, d digest, size int64, now time.Time) indexEntry {
	req := map[string]string{}
	if accept != "" {
		req["accept"] = accept
	}
	return indexEntry{
		Key: requestKey + url, Integrity: d.String(), Time: now.UnixMilli(), Size: size,
		Metadata: indexMetadata{
			Time: now.UnixMilli(), URL: url, ReqHeaders: req,
			ResHeaders: map[string]string{"content-type": contentType, "date": now.UTC().Format(http.TimeFormat)},
			Options:    map[string]bool{"compress": true},
		},
	}
}

// bucketPath is where the entries of a key live.
func (s *store) bucketPath(key string) string {
	sum := sha256.Sum256([]byte(key))
	h := hex.EncodeToString(sum[:])
	return filepath.Join(s.dir, "index-v5", h[:2], h[2:4], h[4:])
}

// index writes the entries of one key, replacing what was there.
func (s *store) index(entries ...indexEntry) error {
	var b bytes.Buffer
	for _, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		sum := sha1.Sum(line) //nolint:gosec // see the import
		b.WriteString("\n" + hex.EncodeToString(sum[:]) + "\t")
		b.Write(line)
	}
	return writeFile(s.bucketPath(entries[0].Key), b.Bytes())
}

// maxBucket bounds an index file that is read, in bytes.
const maxBucket = 4 << 20

// lookup returns the newest entry for key in the store's index. Damaged lines
// are skipped, as npm does.
func (s *store) lookup(key string) (indexEntry, bool) {
	info, err := os.Stat(s.bucketPath(key))
	if err != nil || info.Size() > maxBucket {
		return indexEntry{}, false
	}
	b, err := os.ReadFile(s.bucketPath(key))
	if err != nil {
		return indexEntry{}, false
	}
	return parseBucket(b, key)
}

func parseBucket(b []byte, key string) (found indexEntry, ok bool) {
	for line := range bytes.SplitSeq(b, []byte("\n")) {
		check, body, cut := bytes.Cut(line, []byte("\t"))
		sum := sha1.Sum(body) //nolint:gosec // see the import
		if !cut || string(check) != hex.EncodeToString(sum[:]) {
			continue
		}
		var e indexEntry
		if json.Unmarshal(body, &e) != nil || e.Key != key {
			continue
		}
		found, ok = e, e.Integrity != "" // an empty integrity marks a deletion
	}
	return found, ok
}
