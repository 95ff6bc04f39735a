package main

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"speedybites/internal/demo"
)

const (
	mostRate = 1000
	// mostOpen bounds the requests under way; those above it are left out. They pile up while the database is away.
	mostOpen = 2000
)

// load sends reads to the instances in turn, so that there is something to see, and returns when ctx has ended.
func load(ctx context.Context, instances []string, rate int) {
	client := &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: mostOpen, IdleConnTimeout: time.Minute}, Timeout: time.Minute,
	}
	restaurant := "/api/restaurants/" + demo.RestaurantID().String()
	paths := []string{"/api/restaurants?limit=5", restaurant, restaurant + "/menu"}
	var running sync.WaitGroup
	defer running.Wait()
	open := make(chan struct{}, mostOpen)
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case open <- struct{}{}:
		default:
			continue
		}
		running.Go(func() {
			get(ctx, client, instances[n%len(instances)]+paths[n/len(instances)%len(paths)])
			<-open
		})
	}
}

// get reads an answer. Whether it is a good one is what the dashboards show.
func get(ctx context.Context, client *http.Client, url string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}
