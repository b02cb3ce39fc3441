package shop

import (
	"fmt"
	"regexp"
	"unicode/utf8"
)

// Order is what a client posts. The same ID again is the same order: it is stored once.
type Order struct {
	ID   string `json:"id"`   // 1 to 64 of A–Z, a–z, 0–9, '.', '_' and '-'
	Item string `json:"item"` // 1 to 256 bytes of text
}

// Receipt acknowledges an order: it is durable in both regions, or in the only one that is left.
type Receipt struct {
	ID       string `json:"id"`
	Seq      int64  `json:"seq"`
	Region   string `json:"region"`    // whose database accepted it
	ServedBy string `json:"served_by"` // whose database acknowledges it
	Epoch    int64  `json:"epoch"`
	Term     int64  `json:"term"`
}

// refusal is the body of every answer that is not a receipt.
type refusal struct {
	Error string `json:"error"`
	Code  string `json:"code"`
}

// Bounds of an order.
const (
	maxItem  = 256
	maxOrder = 4 << 10 // bytes of a body
)

var orderID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func (o Order) check() error {
	if !orderID.MatchString(o.ID) {
		return fmt.Errorf("id: must be 1 to 64 of A–Z, a–z, 0–9, '.', '_' and '-'")
	}
	if len(o.Item) == 0 || len(o.Item) > maxItem || !utf8.ValidString(o.Item) {
		return fmt.Errorf("item: must be 1 to %d bytes of text", maxItem)
	}
	return nil
}
