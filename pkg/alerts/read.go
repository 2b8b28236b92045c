package alerts

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/falconer-sec/falconer/pkg/falco"
	"github.com/falconer-sec/falconer/pkg/fault"
)

// Bounds of what is asked of JetStream at once.
const (
	readBatch = 256
	readBytes = 8 << 20
	getBatch  = 64
)

// Entry is a stored alert.
type Entry struct {
	Seq     uint64 // stream sequence: the order of storing
	Subject string
	Stored  time.Time
	Digest  string // the alert's content identity
	Alert   falco.Alert
	// Err says why the stored text can't be read any more; Alert is then zero.
	Err error
}

// Totals returns the number of stored alerts by subject, and a sequence up to
// which those numbers leave nothing out (they may hold younger alerts too). Its
// cost depends on the subjects that filter matches, not on the stream.
func (s *Store) Totals(ctx context.Context, filter string) (bySubject map[string]uint64, upTo uint64, err error) {
	m, upTo, err := subjectTotals(ctx, s.stream, filter)
	return m, upTo, fault.New("alerts: count "+filter, fault.Transient, err)
}

// subjectTotals relies on the server taking the last sequence before it counts
// the subjects.
func subjectTotals(ctx context.Context, stream jetstream.Stream, filter string) (bySubject map[string]uint64, upTo uint64, err error) {
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return nil, 0, err
	}
	return info.State.Subjects, info.State.LastSeq, nil
}

// Get reads alerts by sequence and calls fn for each that is still there. It
// stops at fn's first error and returns it. Its cost is the same however many
// scans the stream holds.
func (s *Store) Get(ctx context.Context, seqs []uint64, fn func(Entry) error) error {
	if len(seqs) == 1 { // the most frequent case, at half the cost
		return s.getOne(ctx, seqs[0], fn)
	}
	for part := range slices.Chunk(seqs, getBatch) {
		requests := make([]request, len(part))
		for i, seq := range part {
			requests[i] = request{Seq: seq}
		}
		if _, err := s.ask(ctx, requests, fn); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) getOne(ctx context.Context, seq uint64, fn func(Entry) error) error {
	const op = "alerts: read"
	ctx, cancel := context.WithTimeout(ctx, s.cfg.AckTimeout)
	defer cancel()
	b, err := json.Marshal(request{Seq: seq})
	if err != nil {
		return fault.New(op, fault.Permanent, err)
	}
	m, err := s.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+s.cfg.Stream, b)
	if err != nil {
		return fault.New(op, fault.Transient, err)
	}
	switch status := m.Header.Get("Status"); status {
	case "":
		e, err := entry(m)
		if err != nil {
			return err
		}
		return fn(e)
	case statusNotFound:
		return nil
	default:
		return fault.Errorf(fault.Transient, "%s: JetStream answered %s %s", op, status, m.Header.Get("Description"))
	}
}

// Read reads all alerts that subject, an exact one, holds from sequence from
// on, in order, and calls fn for each. It stops at fn's first error and
// returns it.
func (s *Store) Read(ctx context.Context, subject string, from uint64, fn func(Entry) error) error {
	for {
		r := request{Seq: from, NextFor: subject, Batch: readBatch, MaxBytes: readBytes}
		left, err := s.ask(ctx, []request{r}, func(e Entry) error {
			from = e.Seq + 1
			return fn(e)
		})
		if err != nil || left == 0 {
			return err
		}
	}
}

// request is JetStream's direct get request (ADR-31).
type request struct {
	Seq      uint64 `json:"seq,omitempty"`
	NextFor  string `json:"next_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

// Statuses of a direct get answer that carries no message.
const (
	statusEnd      = "204" // end of a batch
	statusNotFound = "404"
)

// Headers of an answer: when the message was stored, and how many are left
// behind a batch.
const (
	timeHeader    = "Nats-Time-Stamp"
	pendingHeader = "Nats-Num-Pending"
)

// ask sends requests at once and hands each answer to fn. For a request with
// Batch it returns how many more messages there are behind the last one.
func (s *Store) ask(ctx context.Context, requests []request, fn func(Entry) error) (left uint64, err error) {
	const op = "alerts: read"
	ctx, cancel := context.WithTimeout(ctx, s.cfg.AckTimeout)
	defer cancel()
	inbox := s.nc.NewInbox()
	answers := make(chan *nats.Msg, len(requests)*(requests[0].Batch+1)) // holds all there can be
	sub, err := s.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return 0, fault.New(op, fault.Transient, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection
	for _, r := range requests {
		b, err := json.Marshal(r)
		if err != nil {
			return 0, fault.New(op, fault.Permanent, err)
		}
		if err := s.nc.PublishRequest("$JS.API.DIRECT.GET."+s.cfg.Stream, inbox, b); err != nil {
			return 0, fault.New(op, fault.Transient, err)
		}
	}
	for open := len(requests); open > 0; {
		var m *nats.Msg
		select {
		case m = <-answers:
		case <-ctx.Done():
			return 0, fault.New(op, fault.Transient, ctx.Err())
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case statusEnd:
			left, err = strconv.ParseUint(m.Header.Get(pendingHeader), 10, 64)
			return left, fault.New(op, fault.Transient, err)
		case statusNotFound:
			open--
			continue
		default:
			return 0, fault.Errorf(fault.Transient, "%s: JetStream answered %s %s", op, status, m.Header.Get("Description"))
		}
		e, err := entry(m)
		if err != nil {
			return 0, err
		}
		if err := fn(e); err != nil {
			return 0, err
		}
		if requests[0].Batch == 0 {
			open--
		}
	}
	return 0, nil
}

func entry(m *nats.Msg) (Entry, error) {
	seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return Entry{}, fault.New("alerts: read", fault.Transient, fmt.Errorf("answer without sequence: %w", err))
	}
	e := Entry{Seq: seq, Subject: m.Header.Get(jetstream.SubjectHeader)}
	if e.Stored, err = time.Parse(time.RFC3339Nano, m.Header.Get(timeHeader)); err != nil {
		return Entry{}, fault.New("alerts: read", fault.Transient, fmt.Errorf("answer without time: %w", err))
	}
	e.Digest, _, _ = strings.Cut(m.Header.Get(jetstream.MsgIDHeader), ".")
	e.Alert, e.Err = falco.Decode(m.Data)
	return e, nil
}
