// Package tap prints the Test Anything Protocol, version 13.
//
// It stands in for the one import of the validation programs that Debian does
// not package, and has exactly the functions that those programs call.
// Diagnostics are JSON, which is YAML too, so that no YAML package is needed.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T counts the results that one program has printed.
type T struct {
	printed *int
	todo    bool
}

// New returns a counter at zero.
func New() *T {
	return &T{printed: new(int)}
}

// Todo returns a view on the same counter whose results are marked TODO.
func (t *T) Todo() *T {
	return &T{printed: t.printed, todo: true}
}

// Header prints the version, and the plan when the count is known.
func (t *T) Header(count int) {
	fmt.Println("TAP version 13")
	if count > 0 {
		fmt.Printf("1..%d\n", count)
	}
}

// AutoPlan prints the plan as the number of results printed until now.
func (t *T) AutoPlan() {
	fmt.Printf("1..%d\n", *t.printed)
}

// Ok prints one result.
func (t *T) Ok(passed bool, description string) {
	word, mark := "ok", "- "
	if !passed {
		word = "not ok"
	}
	if t.todo {
		mark = "# TODO "
	}
	*t.printed++
	fmt.Printf("%s %d %s%s\n", word, *t.printed, mark, description)
}

// Pass prints one passed result.
func (t *T) Pass(description string) { t.Ok(true, description) }

// Fail prints one failed result.
func (t *T) Fail(description string) { t.Ok(false, description) }

// Skip prints a number of results that are not asked for here.
func (t *T) Skip(count int, description string) {
	for ; count > 0; count-- {
		*t.printed++
		fmt.Printf("ok %d # SKIP %s\n", *t.printed, description)
	}
}

// Diagnostic prints a text as comment lines.
func (t *T) Diagnostic(text string) {
	fmt.Println("# " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n# "))
}

// Diagnosticf prints a formatted text as comment lines.
func (t *T) Diagnosticf(format string, values ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, values...))
}

// YAML prints a value as the diagnostic block of the result before it.
func (t *T) YAML(value interface{}) error {
	text, err := json.MarshalIndent(value, "  ", "  ")
	if err == nil {
		fmt.Printf("  ---\n  %s\n  ...\n", text)
	}
	return err
}
