// Package compose checks docker-compose.yml and the configuration of what it runs.
//
// There is no Docker in the tests. What can be had of the programs is run with the shipped files: HAProxy, PostgreSQL with
// the scripts of its containers, and a collector of the components that the shipped configuration names, of the version in
// the image (see module otelcol). Prometheus, Alertmanager and the receiver are those of other packages. Tempo, Loki and
// Grafana are not to be had: their files are checked for keys that these programs have, and against the files around them.
package compose
