// Package localstack runs the service with its monitoring as real processes, without containers: PostgreSQL, instances of
// the service, Prometheus, Alertmanager, the exporter of PostgreSQL and the receiver of notifications, all on the
// loopback interface and with the configuration that is shipped. It is what `make stack-local` runs (package up), and
// what tests break on purpose: [Stack.KillInstance], [Stack.Database], [Stack.Replica].
//
// A stack lives in one directory, which keeps its data from one start to the next:
//
//	lock            held by the process that runs the stack (flock), gone with it
//	secret          signs the access tokens, the same for all instances
//	bin/            the service's program, built at every start
//	postgres/       see package localpg; postgres-replica/ likewise, where there is one
//	api-1/, …       log files and uploads of each instance
//	prometheus/     prometheus.yml and rules/ as shipped, targets/ with the addresses, data/
//	alertmanager/   alertmanager.yml and templates/ as shipped, secrets/ with the receiver's addresses, data/
//	output/         NAME.log, what each process says; NAME.log.1, what it said in the run before
//
// The processes end with the one that started them, also when that is killed (on Linux; elsewhere they go on).
package localstack
