//go:build tools

// Package tools pins the kustomize that renders k8s/ in the tests, down to checksums. 5.0.3 is the newest that
// Debian 12's Go builds.
package tools

import _ "sigs.k8s.io/kustomize/kustomize/v5"
