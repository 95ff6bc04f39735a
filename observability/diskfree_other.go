//go:build !linux && !darwin

package observability

import "errors"

// diskFree is not known for this system.
func diskFree(string) (int64, error) { return 0, errors.ErrUnsupported }
