//go:build unix && !linux && !darwin

package localpg

// removeSharedMemory does nothing: what a killed server has left stays until the system starts anew.
func removeSharedMemory(int) {}
