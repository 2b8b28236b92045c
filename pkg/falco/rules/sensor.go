package rules

import "slices"

// IDs of the fields in SensorFields, as Event.Field gets them.
const (
	EvtType = iota
	SyscallType
	EvtDir
	EvtNum
	EvtTime
	EvtRawTime
	EvtRes
	EvtRawRes
	EvtFailed
	EvtIsOpenRead
	EvtIsOpenWrite
	EvtIsOpenExec
	EvtIsOpenCreate
	EvtArgAddr
	EvtArgFd
	EvtArgFilename
	EvtArgFlags
	EvtArgLinkpath
	EvtArgMode
	EvtArgName
	EvtArgNewfd
	EvtArgNewpath
	EvtArgOldpath
	EvtArgPath
	EvtArgPid
	EvtArgRequest
	EvtArgRes
	EvtArgTarget
	EvtArgTuple
	EvtArgExe
	EvtArgArgs
	EvtBuffer
	EvtRawargInterval
	ProcName
	ProcExe
	ProcExePath
	ProcCmdline
	ProcArgs
	ProcCwd
	ProcPid
	ProcVpid
	ProcPpid
	ProcPname
	ProcPexe
	ProcPexePath
	ProcPcmdline
	ProcAname
	ProcAexe
	ProcAexePath
	ProcAcmdline
	ProcApid
	ProcEnv
	ProcIsExeUpperLayer
	ProcIsExeFromMemfd
	ThreadTid
	FdNum
	FdType
	FdTypeChar
	FdName
	FdDirectory
	FdFilename
	FdCip
	FdSip
	FdLip
	FdRip
	FdSnet
	FdLnet
	FdRnet
	FdCport
	FdSport
	FdLport
	FdRport
	FdL4proto
	FdSipName
	FsPathName
	FsPathSource
	FsPathTarget
	UserUID
	GroupGID
	ContainerID
	ContainerName
	K8sNsName
	K8sPodName
	FalconerScanID
	FalconerPackage
	FalconerPath
	FalconerScript
	FalconerPhase
	FalconerCanary
	FalconerCanaryWhere
	FalconerCanaryForm
	FalconerInLifecycle
	FalconerDetached
	FalconerHookOnly
	FalconerOwn
	FalconerWriter
	FalconerQuery
	FalconerListed
	FalconerRemoved
	FalconerAsked
	FalconerStdin
	FalconerLast = iota - 1 // the highest of them
)

// SensorFields declares what Falconer's gVisor sensor supplies: Falco's own
// fields by Falco's names, and falconer.*, which real Falco does not know; rules
// that are to load there must not use those.
func SensorFields() *Table {
	return NewTable(withCarriers(sensorEventTypes()), slices.Concat(eventFields(), processFields(), descriptorFields(), contextFields())...)
}

// sensorEventTypes are the calls the sensor reports, each when it returns where
// it can't block; execve stands for execveat too and
// is reported once it succeeded, or when its program is not there; clone for
// fork and vfork; access for every call that asks for a program that is not there.
func sensorEventTypes() []string {
	return []string{
		"execve", "execveat", "clone", "procexit", "ptrace", "process_vm_readv", "process_vm_writev",
		"open", "openat", "openat2", "creat", "dup", "dup2", "dup3", "memfd_create",
		"unlink", "unlinkat", "rmdir", "truncate", "access", "rename", "renameat", "renameat2",
		"link", "linkat", "symlink", "symlinkat", "chmod", "fchmod", "fchmodat",
		"connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg", "sendmmsg", "write", "writev",
		"mount", "init_module", "bpf", "setuid", "nanosleep",
	}
}
