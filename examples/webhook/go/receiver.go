// Receive webhooks of imagemill: verify each, handle it once, answer at once.
//
//	WEBHOOK_SECRET=whsec_... go run receiver.go
//
// Runs on the standard library. WEBHOOK_SECRET is the endpoint's secret (whsec_...) or its public
// key (whpk_...). It listens on 127.0.0.1:PORT, by default port 8000, and prints a line for each
// event.
package main

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// Older or newer posts are refused, so that nobody can send a recorded one again later.
	tolerance    = 5 * time.Minute
	maxBodyBytes = 8 << 20
	maxKnownIDs  = 10_000
)

// Event is the body of a post.
type Event struct {
	Type      string `json:"type"`
	Timestamp string `json:"timestamp"`
	Data      struct {
		JobID      string `json:"job_id"`
		EndpointID string `json:"endpoint_id"`
	} `json:"data"`
}

// Verify returns the event in a post, or an error if it is not verified.
func Verify(secret string, headers http.Header, body []byte) (Event, error) {
	var event Event
	id, timestamp := headers.Get("webhook-id"), headers.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if id == "" || err != nil {
		return event, errors.New("webhook-id or webhook-timestamp is missing")
	}
	if age := time.Since(time.Unix(seconds, 0)); age > tolerance || age < -tolerance {
		return event, fmt.Errorf("webhook-timestamp is more than %s off", tolerance)
	}
	signed := append([]byte(id+"."+timestamp+"."), body...)
	// Several signatures are separated by spaces: while a secret is rotated, the old one signs too.
	for _, signature := range strings.Split(headers.Get("webhook-signature"), " ") {
		if fits(secret, signature, signed) {
			return event, json.Unmarshal(body, &event)
		}
	}
	return event, errors.New("no signature fits the secret")
}

func fits(secret, signature string, signed []byte) bool {
	prefix, encoded, _ := strings.Cut(secret, "_")
	version, value, _ := strings.Cut(signature, ",")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return false
	}
	given, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return false
	}
	switch {
	case prefix == "whsec" && version == "v1":
		mac := hmac.New(sha256.New, key)
		mac.Write(signed)
		// In constant time, so that the time of the answer says nothing about the right signature.
		return hmac.Equal(given, mac.Sum(nil))
	case prefix == "whpk" && version == "v1a":
		return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, signed, given)
	}
	return false
}

// knownIDs holds the ids of the events that were handled: a repeat has the id of the first post.
// In memory here; keep them where your results are, in the same transaction, for three days.
type knownIDs struct {
	lock  sync.Mutex
	ids   map[string]bool
	order []string
}

func (known *knownIDs) has(id string) bool {
	known.lock.Lock()
	defer known.lock.Unlock()
	return known.ids[id]
}

// add remembers an id, once its event was handled.
func (known *knownIDs) add(id string) {
	known.lock.Lock()
	defer known.lock.Unlock()
	known.ids[id] = true
	known.order = append(known.order, id)
	if len(known.order) > maxKnownIDs {
		delete(known.ids, known.order[0])
		known.order = known.order[1:]
	}
}

// handle uses an event. Put it in a queue if that takes long: the sender waits for 15 s only.
func handle(id string, event Event) {
	subject := event.Data.JobID
	if subject == "" {
		subject = event.Data.EndpointID
	}
	fmt.Println(event.Type, id, subject)
}

func main() {
	secret := os.Getenv("WEBHOOK_SECRET")
	if !strings.HasPrefix(secret, "whsec_") && !strings.HasPrefix(secret, "whpk_") {
		log.Fatal("Set WEBHOOK_SECRET to the endpoint's secret, whsec_... or whpk_....")
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8000"
	}
	known := &knownIDs{ids: map[string]bool{}}
	http.HandleFunc("/", func(response http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(response, request.Body, maxBodyBytes))
		if err != nil {
			response.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		event, err := Verify(secret, request.Header, body)
		if err != nil {
			fmt.Fprintln(os.Stderr, "refused:", err)
			response.WriteHeader(http.StatusBadRequest)
			return
		}
		id := request.Header.Get("webhook-id")
		if known.has(id) {
			fmt.Println("repeated", id)
		} else {
			handle(id, event)
			known.add(id)
		}
		response.WriteHeader(http.StatusNoContent)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on port", listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.Serve(listener, nil))
}
