// Command kstatus says what kstatus, which Flux, Helm and others wait with, makes of one Kubernetes object.
//
// It reads the object as JSON on standard input and prints `{"status": "...", "message": "..."}`. Nothing on standard input
// is an object that is not there.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type result struct {
	Status  status.Status `json:"status"`
	Message string        `json:"message"`
}

func compute(in io.Reader) (result, error) {
	text, err := io.ReadAll(in)
	if err != nil {
		return result{}, err
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return result{status.NotFoundStatus, "Resource not found"}, nil
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(text); err != nil {
		return result{}, err
	}
	computed, err := status.Compute(object)
	if err != nil {
		return result{}, err
	}
	return result{computed.Status, computed.Message}, nil
}

func main() {
	computed, err := compute(os.Stdin)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(computed)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}
