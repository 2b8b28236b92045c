package seccomp

import (
	"bytes"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/falconer-sec/falconer/pkg/sensor/record"
)

// handshakeTimeout bounds the wait for the sensor's greeting.
const handshakeTimeout = 10 * time.Second

// sink is the connection to the sensor. Writing blocks until the sensor has
// room, which holds the process up that made the call.
type sink struct {
	fd      int
	view    view
	dropped uint32
	buf     []byte
}

// dialSensor connects to the sensor's socket. Without one, records go nowhere.
func dialSensor(endpoint string, v view) (*sink, error) {
	if endpoint == "" {
		return &sink{fd: -1, view: v}, nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	s := &sink{fd: fd, view: v}
	if err := s.greet(endpoint); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *sink) greet(endpoint string) error {
	tv := unix.NsecToTimeval(handshakeTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return err
	}
	if err := unix.Connect(s.fd, &unix.SockaddrUnix{Name: endpoint}); err != nil {
		return err
	}
	if _, err := unix.Write(s.fd, record.Hello); err != nil {
		return err
	}
	answer := make([]byte, 64)
	n, err := unix.Read(s.fd, answer)
	if err != nil {
		return err
	}
	if !bytes.Equal(answer[:n], record.Hello) {
		return errors.New("the sensor speaks another version of the protocol")
	}
	return nil
}

// send counts what can't be delivered; the sensor learns it with the next
// record, the driver at the end.
func (s *sink) send(r *record.Record) {
	if s.fd < 0 {
		return
	}
	s.view.apply(r)
	s.buf = record.AppendFrame(s.buf[:0], s.dropped, r)
	for {
		_, err := unix.Write(s.fd, s.buf)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil {
			s.dropped++
		}
		return
	}
}

func (s *sink) close() {
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
	}
}
