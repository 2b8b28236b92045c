package canary

import "encoding/binary"

// table is one table of a database, small enough for one page.
type table struct {
	name, schema string
	rows         [][]any // string, []byte, int64 or nil
}

// pageSize is a database page's size in bytes.
const pageSize = 4096

// database writes a SQLite 3 database file: the schema on page 1, each table on
// a page of its own (https://www.sqlite.org/fileformat2.html).
func database(tables ...table) []byte {
	var schema [][]any
	out := make([]byte, pageSize)
	for i, t := range tables {
		schema = append(schema, []any{"table", t.name, t.name, int64(i + 2), t.schema})
		out = append(out, leaf(make([]byte, pageSize), 0, t.rows)...)
	}
	copy(out, leaf(make([]byte, pageSize), 100, schema))
	copy(out, "SQLite format 3\x00")
	be := binary.BigEndian
	be.PutUint16(out[16:], pageSize)
	copy(out[18:], []byte{1, 1, 0, 64, 32, 32})
	be.PutUint32(out[24:], 1) // change counter
	be.PutUint32(out[28:], uint32(len(tables)+1))
	be.PutUint32(out[40:], 1) // schema cookie
	be.PutUint32(out[44:], 4) // schema format
	be.PutUint32(out[56:], 1) // UTF-8
	be.PutUint32(out[92:], 1) // version valid for
	be.PutUint32(out[96:], 3045001)
	return out
}

// leaf fills a page with a table's rows; its header begins at byte at.
func leaf(page []byte, at int, rows [][]any) []byte {
	end, be := len(page), binary.BigEndian
	for i, row := range rows {
		r := record(row)
		cell := append(varint(varint(nil, uint64(len(r))), uint64(i+1)), r...)
		end -= len(cell)
		copy(page[end:], cell)
		be.PutUint16(page[at+8+2*i:], uint16(end))
	}
	page[at] = 0x0d // a leaf of a table
	be.PutUint16(page[at+3:], uint16(len(rows)))
	be.PutUint16(page[at+5:], uint16(end))
	return page
}

// record encodes a row: the types of its columns, then their values.
func record(row []any) []byte {
	var types, values []byte
	for _, v := range row {
		switch v := v.(type) {
		case string:
			types, values = varint(types, uint64(13+2*len(v))), append(values, v...)
		case []byte:
			types, values = varint(types, uint64(12+2*len(v))), append(values, v...)
		case int64:
			types, values = varint(types, 6), binary.BigEndian.AppendUint64(values, uint64(v))
		default:
			types = varint(types, 0)
		}
	}
	size := len(types) + 1
	if size > 127 {
		size++
	}
	return append(append(varint(nil, uint64(size)), types...), values...)
}

// varint appends a number of at most 28 bits in SQLite's encoding: seven bits a
// byte, the highest first.
func varint(b []byte, v uint64) []byte {
	for shift := 21; shift > 0; shift -= 7 {
		if v>>shift != 0 {
			b = append(b, byte(v>>shift)|0x80)
		}
	}
	return append(b, byte(v&0x7f))
}
