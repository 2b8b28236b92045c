package rules

// eventFields describe the call.
func eventFields() []FieldInfo {
	return []FieldInfo{
		{"evt.type", EvtType, String, NoArg, "name of the event: the system call"},
		{"syscall.type", SyscallType, String, NoArg, "the same as evt.type"},
		{"evt.dir", EvtDir, String, NoArg, "always \"<\": events are reported when the call returns (deprecated in Falco)"},
		{"evt.num", EvtNum, Number, NoArg, "number of the event, from 1 on"},
		{"evt.time", EvtTime, Time, NoArg, "time of the event; output only"},
		{"evt.rawtime", EvtRawTime, Number, NoArg, "time of the event in nanoseconds since the Unix epoch"},
		{"evt.res", EvtRes, String, NoArg, "SUCCESS, or the error's name (ENOENT)"},
		{"evt.rawres", EvtRawRes, Number, NoArg, "the call's return value; negative errno on failure"},
		{"evt.failed", EvtFailed, Bool, NoArg, "the call returned an error"},
		{"evt.is_open_read", EvtIsOpenRead, Bool, NoArg, "a file was opened for reading"},
		{"evt.is_open_write", EvtIsOpenWrite, Bool, NoArg, "a file was opened for writing"},
		{"evt.is_open_exec", EvtIsOpenExec, Bool, NoArg, "a file was created with execute permission"},
		{"evt.is_open_create", EvtIsOpenCreate, Bool, NoArg, "a file was created"},
		{"evt.arg.addr", EvtArgAddr, String, NoArg, "address of connect and bind"},
		{"evt.arg.fd", EvtArgFd, String, NoArg, "descriptor used or made"},
		{"evt.arg.filename", EvtArgFilename, String, NoArg, "path of the chmod family"},
		{"evt.arg.flags", EvtArgFlags, String, NoArg, "flags by name (O_RDONLY|O_CLOEXEC)"},
		{"evt.arg.linkpath", EvtArgLinkpath, String, NoArg, "new path of the symlink family"},
		{"evt.arg.mode", EvtArgMode, String, NoArg, "octal mode and bits by name (0755(S_IXOTH|...))"},
		{"evt.arg.name", EvtArgName, String, NoArg, "path of the open family, access and unlinkat, name of memfd_create"},
		{"evt.arg.newfd", EvtArgNewfd, String, NoArg, "of dup2 and dup3"},
		{"evt.arg.newpath", EvtArgNewpath, String, NoArg, "new path of the rename and link families"},
		{"evt.arg.oldpath", EvtArgOldpath, String, NoArg, "old path of the rename and link families"},
		{"evt.arg.path", EvtArgPath, String, NoArg, "path of unlink and rmdir"},
		{"evt.arg.pid", EvtArgPid, String, NoArg, "target of ptrace"},
		{"evt.arg.request", EvtArgRequest, String, NoArg, "request of ptrace by name (PTRACE_ATTACH)"},
		{"evt.arg.res", EvtArgRes, String, NoArg, "result, as evt.res"},
		{"evt.arg.target", EvtArgTarget, String, NoArg, "what a symlink points to"},
		{"evt.arg.tuple", EvtArgTuple, String, NoArg, "addresses and ports of a connection"},
		{"evt.arg.exe", EvtArgExe, String, NoArg, "first argument of what was executed, or could not be"},
		{"evt.arg.args", EvtArgArgs, String, NoArg, "its other arguments, joined by blanks"},
		{"evt.buffer", EvtBuffer, String, NoArg, "first bytes sent or written to a connection"},
		{"evt.rawarg.interval", EvtRawargInterval, Number, NoArg, "how long nanosleep waits, in nanoseconds; it stands for every wait of five seconds or more"},
	}
}

// processFields describe the process that made the call and its ancestors.
func processFields() []FieldInfo {
	return []FieldInfo{
		{"proc.name", ProcName, String, NoArg, "name of the executable, at most 15 bytes"},
		{"proc.exe", ProcExe, String, NoArg, "first argument: argv[0]"},
		{"proc.exepath", ProcExePath, String, NoArg, "full path of the executable"},
		{"proc.cmdline", ProcCmdline, String, NoArg, "name and arguments"},
		{"proc.args", ProcArgs, String, NoArg, "arguments without argv[0], joined by blanks"},
		{"proc.cwd", ProcCwd, String, NoArg, "working directory, with a trailing slash"},
		{"proc.pid", ProcPid, Number, NoArg, "process ID"},
		{"proc.vpid", ProcVpid, Number, NoArg, "process ID in the sandbox's own namespace"},
		{"proc.ppid", ProcPpid, Number, NoArg, "parent's process ID"},
		{"proc.pname", ProcPname, String, NoArg, "parent's name"},
		{"proc.pexe", ProcPexe, String, NoArg, "parent's argv[0]"},
		{"proc.pexepath", ProcPexePath, String, NoArg, "parent's executable"},
		{"proc.pcmdline", ProcPcmdline, String, NoArg, "parent's command line"},
		{"proc.aname", ProcAname, String, Ancestor, "name of ancestor n"},
		{"proc.aexe", ProcAexe, String, Ancestor, "argv[0] of ancestor n"},
		{"proc.aexepath", ProcAexePath, String, Ancestor, "executable of ancestor n"},
		{"proc.acmdline", ProcAcmdline, String, Ancestor, "command line of ancestor n"},
		{"proc.apid", ProcApid, Number, Ancestor, "process ID of ancestor n"},
		{"proc.env", ProcEnv, String, Key, "environment variable NAME at exec, empty if unset; a process can set its children's"},
		{"proc.is_exe_upper_layer", ProcIsExeUpperLayer, Bool, NoArg, "the executable was written during the install"},
		{"proc.is_exe_from_memfd", ProcIsExeFromMemfd, Bool, NoArg, "the executable is a memfd: it never was a file"},
		{"thread.tid", ThreadTid, Number, NoArg, "thread ID"},
	}
}

// descriptorFields describe the files and sockets of the call.
func descriptorFields() []FieldInfo {
	return []FieldInfo{
		{"fd.num", FdNum, Number, NoArg, "descriptor number; -1 if an open failed"},
		{"fd.type", FdType, String, NoArg, "file, directory, ipv4, ipv6, unix, pipe, event, memfd"},
		{"fd.typechar", FdTypeChar, String, NoArg, "f, d, 4, 6, u, p, e, m"},
		{"fd.name", FdName, String, NoArg, "full path, or the connection's tuple"},
		{"fd.directory", FdDirectory, String, NoArg, "directory of the file"},
		{"fd.filename", FdFilename, String, NoArg, "name of the file without directory"},
		{"fd.cip", FdCip, None, NoArg, "client address"},
		{"fd.sip", FdSip, Addr, NoArg, "server address"},
		{"fd.lip", FdLip, Addr, NoArg, "local address"},
		{"fd.rip", FdRip, Addr, NoArg, "remote address"},
		{"fd.snet", FdSnet, Net, NoArg, "server address, compared with networks"},
		{"fd.lnet", FdLnet, Net, NoArg, "local address, compared with networks"},
		{"fd.rnet", FdRnet, Net, NoArg, "remote address, compared with networks"},
		{"fd.cport", FdCport, None, NoArg, "client port"},
		{"fd.sport", FdSport, Number, NoArg, "server port"},
		{"fd.lport", FdLport, Number, NoArg, "local port"},
		{"fd.rport", FdRport, Number, NoArg, "remote port"},
		{"fd.l4proto", FdL4proto, String, NoArg, "tcp, udp, icmp or raw"},
		{"fd.sip.name", FdSipName, String, NoArg, "domain name the server address was looked up by"},
		{"fs.path.name", FsPathName, String, NoArg, "full path a call acted on; absent if it failed"},
		{"fs.path.source", FsPathSource, String, NoArg, "rename: the old path; link and symlink: the new link"},
		{"fs.path.target", FsPathTarget, String, NoArg, "rename: the new path; link and symlink: what it leads to"},
	}
}

// contextFields describe where the process runs and for whom.
func contextFields() []FieldInfo {
	return []FieldInfo{
		{"user.uid", UserUID, Number, NoArg, "user ID"},
		{"group.gid", GroupGID, Number, NoArg, "group ID"},
		{"container.id", ContainerID, String, NoArg, "container ID"},
		{"container.name", ContainerName, String, NoArg, "container name"},
		{"k8s.ns.name", K8sNsName, None, NoArg, "namespace of the pod"},
		{"k8s.pod.name", K8sPodName, None, NoArg, "name of the pod"},
		{"falconer.scan_id", FalconerScanID, String, NoArg, "ID of the scan"},
		{"falconer.package", FalconerPackage, String, NoArg, "purl of the package whose script acts"},
		{"falconer.path", FalconerPath, String, NoArg, "where that package is installed, relative to the project root"},
		{"falconer.script", FalconerScript, String, NoArg, "lifecycle script, e.g. postinstall"},
		{"falconer.phase", FalconerPhase, String, NoArg, "phase of the scan, e.g. install"},
		{"falconer.canary", FalconerCanary, String, NoArg, "planted credential that the event reads or takes away, by name"},
		{"falconer.canary.where", FalconerCanaryWhere, String, NoArg, "how: read, connection, name (of a DNS query), argument, environment, file, path, pipe"},
		{"falconer.canary.form", FalconerCanaryForm, String, NoArg, "how its value was written: plain, base64, hex..."},
		{"falconer.in_lifecycle", FalconerInLifecycle, Bool, NoArg, "the process descends from a lifecycle script"},
		{"falconer.detached", FalconerDetached, Bool, NoArg, "the process left the tree of the script that started it"},
		{"falconer.hook_only", FalconerHookOnly, Bool, NoArg, "nothing but its install script uses the package whose script acts"},
		{"falconer.own", FalconerOwn, String, NoArg, "the file acted on, relative to that package's folder; absent if elsewhere or written by a script"},
		{"falconer.writer", FalconerWriter, String, NoArg, "of an exec: the program that wrote the executable, where a script's did; one of the system by its name, another by its path"},
		{"falconer.query", FalconerQuery, String, NoArg, "name that a name server is asked for"},
		{"falconer.listed", FalconerListed, Number, NoArg, "directories outside of project, system, caches and temporary ones that the package's scripts opened so far; only on an event that adds one"},
		{"falconer.removed", FalconerRemoved, Number, NoArg, "files of someone else that they removed, moved or emptied so far; only on an event that adds one"},
		{"falconer.asked", FalconerAsked, Number, NoArg, "names that they asked for so far; only on an event that adds one"},
		{"falconer.stdin", FalconerStdin, String, NoArg, "what standard input was at exec: a path, pipe:[n], socket:address"},
	}
}
