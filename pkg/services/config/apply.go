package config

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/omnicloud/omnicloud/pkg/omni"
	"github.com/omnicloud/omnicloud/pkg/platform/database"
)

// batch is the part of a manifest that one transaction applies.
type batch struct {
	db       *database.DB
	objects  []Object
	remember bool // keep what was there before, so that it can be taken back
	done     []done
}

// done is an object that was applied.
type done struct {
	object Object
	item   Item
	before any // the spec that was there, a pointer; nil if the object is new or its kind cannot tell
	meta   omni.Metadata
}

// takeBackTime bounds how long taking back may last; it goes on when the request has ended.
const takeBackTime = 15 * time.Second

// scope is whose rows an apply may see: the tenant's that the request's key is bound to, or all.
func scope(ctx context.Context) database.Scope {
	if own := omni.RequestFrom(ctx).Identity.Tenant; own != "" {
		return database.Tenant(own)
	}
	return database.Platform()
}

// try applies a batch and rolls it back.
func (s *Service) try(ctx context.Context, b *batch, fields bool) error {
	err := b.db.Write(ctx, scope(ctx), func(ctx context.Context, tx *database.Tx) error {
		if err := s.applyAll(ctx, tx, b, fields); err != nil {
			return err
		}
		return errRehearsed
	})
	if errors.Is(err, errRehearsed) {
		return nil
	}
	return err
}

func (s *Service) commit(ctx context.Context, b *batch) error {
	return b.db.Write(ctx, scope(ctx), func(ctx context.Context, tx *database.Tx) error {
		return s.applyAll(ctx, tx, b, false)
	})
}

// applyAll applies every object of a batch, and then has each kind check the tenants that were touched. It goes on behind an
// object that is wrong, so that all such are reported; behind any other error the transaction may be broken, so it ends.
func (s *Service) applyAll(ctx context.Context, tx *database.Tx, b *batch, fields bool) error {
	b.done = nil // the transaction may be run again
	if err := lockApplies(ctx, tx); err != nil {
		return err
	}
	var wrong faults
	var first *omni.Error
	for _, o := range b.objects {
		d, err := s.applyOne(ctx, tx, o, b.remember, fields)
		var e *omni.Error
		switch {
		case err == nil:
			b.done = append(b.done, d)
			continue
		case !errors.As(err, &e) || !aboutInput(e.Code):
			if first != nil {
				return reported(first, &wrong)
			}
			return fmt.Errorf("%s: %w", o, err)
		}
		if first == nil {
			first = e
		}
		o.report(e, &wrong)
		if e.Code != omni.CodeInvalid {
			break
		}
	}
	if first != nil {
		return reported(first, &wrong)
	}
	return s.checkAll(ctx, tx, b)
}

// aboutInput says whether an error is the manifest's fault.
func aboutInput(c omni.Code) bool {
	return slices.Contains([]omni.Code{
		omni.CodeInvalid, omni.CodeNotFound, omni.CodeConflict, omni.CodeRefused, omni.CodeReferenced, omni.CodeForbidden, omni.CodeTooLarge,
	}, c)
}

// report adds what is wrong with the object, each fault at its place in the file.
func (o Object) report(e *omni.Error, into *faults) {
	if len(e.Fields) == 0 {
		into.add(o.file, o.where(""), "", "%s: %s", o, e.Message)
		return
	}
	for _, f := range e.Fields {
		into.add(o.file, o.where(f.Path), f.Path, "%s: %s", o, f.Message)
	}
}

// reported joins what was found. What a manifest refers to and is not there makes the manifest wrong, not the request's address.
func reported(first *omni.Error, wrong *faults) error {
	err := wrong.err()
	var e *omni.Error
	if !errors.As(err, &e) {
		return first
	}
	if code := first.Code; code != omni.CodeNotFound {
		e.Code = code
	}
	if first.Hint != "" {
		e.Hint = first.Hint
	}
	return e.WithCause(first)
}

func (s *Service) applyOne(ctx context.Context, tx *database.Tx, o Object, remember, fields bool) (done, error) {
	kind := s.kinds[o.Kind]
	d := done{object: o, item: Item{Kind: o.Kind, Tenant: o.Metadata.Tenant, Name: o.Metadata.Name}}
	var err error
	if (remember || fields) && kind.Manifest != nil {
		if d.meta, d.before, err = s.stored(ctx, tx, o); err != nil {
			return done{}, err
		}
	}
	if d.item.Outcome, err = kind.Apply(ctx, tx, o.Metadata, o.Spec); err != nil {
		return done{}, err
	}
	if fields && kind.Manifest != nil && d.item.Outcome != omni.Unchanged {
		d.item.Fields, err = s.changes(ctx, tx, o, d)
	}
	return d, err
}

// stored gives an object as it is in the store, in the form of a manifest; a nil spec when there is none.
func (s *Service) stored(ctx context.Context, tx *database.Tx, o Object) (omni.Metadata, any, error) {
	kind := s.kinds[o.Kind]
	object, err := kind.Get(ctx, tx, o.Metadata.Tenant, o.Metadata.Name)
	if omni.Is(err, omni.CodeNotFound) {
		return omni.Metadata{}, nil, nil
	}
	if err != nil {
		return omni.Metadata{}, nil, err
	}
	meta, spec := kind.Manifest(object)
	if v := reflect.ValueOf(spec); v.Kind() != reflect.Pointer { // Apply takes what New gives
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		spec = p.Interface()
	}
	return meta, spec, nil
}

// changes compares what was there with what is there now.
func (s *Service) changes(ctx context.Context, tx *database.Tx, o Object, d done) ([]Difference, error) {
	var from form
	var err error
	if d.before != nil {
		if from, err = formOf(d.meta, d.before); err != nil {
			return nil, err
		}
	}
	meta, spec, err := s.stored(ctx, tx, o)
	if err != nil || spec == nil {
		return nil, err
	}
	to, err := formOf(meta, spec)
	return differences(from, to), err
}

// checkAll lets each kind look at each tenant that was touched, as a whole.
func (s *Service) checkAll(ctx context.Context, tx *database.Tx, b *batch) error {
	for _, kind := range s.Kinds() {
		if kind.Check == nil || kind.Database != b.db.Name() {
			continue
		}
		checked := map[string]bool{}
		for _, o := range b.objects {
			tenant := o.Metadata.Tenant
			if o.Kind != kind.Name || checked[tenant] {
				continue
			}
			checked[tenant] = true
			err := kind.Check(ctx, tx, tenant)
			var e *omni.Error
			if errors.As(err, &e) && aboutInput(e.Code) {
				var wrong faults
				wrong.add(o.file, o.where(""), "", "%s", e.Message)
				return reported(e, &wrong)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// takeBack undoes the batches that are committed, the last first, since why has kept the next one from it.
func (s *Service) takeBack(ctx context.Context, committed []*batch, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTime)
	defer cancel()
	var left []string
	for _, b := range slices.Backward(committed) {
		err := b.db.Write(ctx, scope(ctx), func(ctx context.Context, tx *database.Tx) error {
			if err := lockApplies(ctx, tx); err != nil {
				return err
			}
			return s.undo(ctx, tx, b)
		})
		if err == nil {
			continue
		}
		for _, d := range b.done {
			if d.item.Outcome != omni.Unchanged {
				left = append(left, d.object.String()+" ("+string(d.item.Outcome)+")")
			}
		}
	}
	if len(left) == 0 {
		return why
	}
	return omni.Errorf(omni.CodeOf(why), "%s; and what was committed before could not be taken back: %s", why.Error(), strings.Join(left[:min(len(left), 20)], ", ")).
		WithCause(why).WithHint("apply the manifest again: it goes on with what is missing")
}

func (s *Service) undo(ctx context.Context, tx *database.Tx, b *batch) error {
	for _, d := range slices.Backward(b.done) {
		kind := s.kinds[d.object.Kind]
		var err error
		switch {
		case d.item.Outcome == omni.Created:
			err = kind.Delete(ctx, tx, d.object.Metadata.Tenant, d.object.Metadata.Name)
		case d.item.Outcome == omni.Updated && d.before != nil:
			_, err = kind.Apply(ctx, tx, d.meta, d.before)
		case d.item.Outcome == omni.Updated:
			err = omni.Errorf(omni.CodeInternal, "the kind %s cannot tell what was there", kind.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
