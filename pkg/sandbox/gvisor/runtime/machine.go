package runtime

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"gvisor.dev/gvisor/pkg/cpuid"
	"gvisor.dev/gvisor/pkg/sentry/kernel"

	"github.com/falconer-sec/falconer/pkg/sandbox/guest"
)

// machineFiles are files directly in /proc.
var machineFiles = map[string]edit{
	"version":     always(guest.KernelBanner + "\n"),
	"cmdline":     always("BOOT_IMAGE=/boot/vmlinuz-" + guest.KernelRelease + " root=LABEL=root ro console=tty0 console=ttyS0,115200 consoleblank=0\n"),
	"filesystems": always(fileSystems),
	"devices":     always(devices),
	"modules":     always(modules),
	"cgroups":     always(controllers),
	"cpuinfo":     cpuInfo,
	"loadavg":     loadAverage,
	"meminfo":     memory,
	"stat":        statistics,
	"uptime":      upTime,
}

// kernelFiles are files in /proc/sys/kernel.
var kernelFiles = map[string]edit{
	"osrelease": always(guest.KernelRelease + "\n"),
	"version":   always(guest.KernelVersion + "\n"),
	"ostype":    always("Linux\n"),
	"pid_max":   always("4194304\n"),
}

const fileSystems = "nodev\tsysfs\nnodev\ttmpfs\nnodev\tbdev\nnodev\tproc\nnodev\tcgroup\nnodev\tcgroup2\nnodev\tcpuset\nnodev\tdevtmpfs\n" +
	"nodev\tdebugfs\nnodev\ttracefs\nnodev\tsecurityfs\nnodev\tsockfs\nnodev\tbpf\nnodev\tpipefs\nnodev\tramfs\nnodev\thugetlbfs\nnodev\tdevpts\n" +
	"nodev\tmqueue\nnodev\tpstore\n\text3\n\text2\n\text4\nnodev\tautofs\nnodev\tconfigfs\n\tvfat\nnodev\toverlay\n"

const devices = "Character devices:\n  1 mem\n  4 /dev/vc/0\n  4 tty\n  4 ttyS\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n  7 vcs\n 10 misc\n" +
	" 13 input\n 29 fb\n128 ptm\n136 pts\n180 usb\n189 usb_device\n226 drm\n248 virtio-portsdev\n252 bsg\n253 watchdog\n254 rtc\n\n" +
	"Block devices:\n  8 sd\n  9 md\n 11 sr\n 65 sd\n 66 sd\n 67 sd\n 68 sd\n 69 sd\n 70 sd\n 71 sd\n128 sd\n253 device-mapper\n254 mdp\n259 blkext\n"

// modules are the loaded ones, most recent first, addresses hidden as for
// anybody without CAP_SYSLOG.
const modules = `xt_conntrack 16384 2 - Live 0x0000000000000000
nft_chain_nat 16384 3 - Live 0x0000000000000000
xt_MASQUERADE 20480 2 - Live 0x0000000000000000
nf_nat 57344 2 nft_chain_nat,xt_MASQUERADE, Live 0x0000000000000000
nf_conntrack 188416 3 xt_conntrack,xt_MASQUERADE,nf_nat, Live 0x0000000000000000
nf_defrag_ipv6 24576 1 nf_conntrack, Live 0x0000000000000000
nf_defrag_ipv4 16384 1 nf_conntrack, Live 0x0000000000000000
xt_addrtype 16384 2 - Live 0x0000000000000000
nft_compat 20480 4 - Live 0x0000000000000000
nf_tables 303104 57 nft_chain_nat,nft_compat, Live 0x0000000000000000
nfnetlink 20480 3 nft_compat,nf_tables, Live 0x0000000000000000
br_netfilter 36864 0 - Live 0x0000000000000000
bridge 315392 1 br_netfilter, Live 0x0000000000000000
stp 16384 1 bridge, Live 0x0000000000000000
llc 16384 2 bridge,stp, Live 0x0000000000000000
overlay 163840 3 - Live 0x0000000000000000
intel_rapl_msr 20480 0 - Live 0x0000000000000000
intel_rapl_common 32768 1 intel_rapl_msr, Live 0x0000000000000000
ghash_clmulni_intel 16384 0 - Live 0x0000000000000000
aesni_intel 393216 0 - Live 0x0000000000000000
virtio_rng 16384 0 - Live 0x0000000000000000
virtio_balloon 28672 0 - Live 0x0000000000000000
ext4 983040 1 - Live 0x0000000000000000
crc16 16384 1 ext4, Live 0x0000000000000000
mbcache 16384 1 ext4, Live 0x0000000000000000
jbd2 167936 1 ext4, Live 0x0000000000000000
sd_mod 65536 2 - Live 0x0000000000000000
virtio_net 73728 0 - Live 0x0000000000000000
virtio_scsi 24576 1 - Live 0x0000000000000000
virtio_pci 28672 0 - Live 0x0000000000000000
`

const controllers = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t0\t96\t1\ncpu\t0\t96\t1\ncpuacct\t0\t96\t1\nblkio\t0\t96\t1\n" +
	"memory\t0\t96\t1\ndevices\t0\t96\t1\nfreezer\t0\t96\t1\nnet_cls\t0\t96\t1\nperf_event\t0\t96\t1\nnet_prio\t0\t96\t1\nhugetlb\t0\t96\t1\npids\t0\t96\t1\nrdma\t0\t96\t1\nmisc\t0\t96\t1\n"

// cpuInfo names the processor as the CPUID instruction does, which nobody can
// change: gVisor leaves it unknown.
func cpuInfo(_ *kernel.Kernel, text string) string {
	text = strings.ReplaceAll(text, "model name\t: unknown\n", "model name\t: "+processorName()+"\n")
	return strings.ReplaceAll(text, "stepping\t: unknown\n", fmt.Sprintf("stepping\t: %d\nmicrocode\t: 0x1\n", cpuid.HostFeatureSet().Query(cpuid.In{Eax: 1}).Eax&0xf))
}

// processorName reads the brand string (CPUID leaves 0x80000002 to 4).
func processorName() string {
	var name []byte
	set := cpuid.HostFeatureSet()
	for leaf := uint32(0x80000002); leaf <= 0x80000004; leaf++ {
		out := set.Query(cpuid.In{Eax: leaf})
		for _, r := range []uint32{out.Eax, out.Ebx, out.Ecx, out.Edx} {
			name = append(name, byte(r), byte(r>>8), byte(r>>16), byte(r>>24))
		}
	}
	if s := strings.TrimSpace(strings.TrimRight(string(name), "\x00")); s != "" {
		return s
	}
	return "Intel Xeon Processor (Skylake, IBRS)"
}

// loadAverage tells of a machine that works on something.
func loadAverage(k *kernel.Kernel, _ string) string {
	wave := float64(k.MonotonicClock().Now().Seconds()%97) / 100
	root := k.TaskSet().Root
	last := int32(0)
	for _, t := range root.Tasks() {
		last = max(last, int32(root.IDOfTask(t)))
	}
	return fmt.Sprintf("%.2f %.2f %.2f %d/%d %d\n", 0.31+wave, 0.48+wave/2, 0.44+wave/4, max(1, k.RunningTasks()), 180+root.NumTasks(), last)
}

var memoryLine = regexp.MustCompile(`(?m)^(MemTotal|MemFree|MemAvailable|Buffers|Cached):\s+(\d+) kB$`)

// memory takes what a machine at work uses off what is free.
func memory(_ *kernel.Kernel, text string) string {
	var total int64
	return memoryLine.ReplaceAllStringFunc(text, func(line string) string {
		f := memoryLine.FindStringSubmatch(line)
		n, _ := strconv.ParseInt(f[2], 10, 64) // digits
		switch f[1] {
		case "MemTotal":
			total = n
		case "MemFree":
			n -= min(n, total/100*58)
		case "MemAvailable":
			n -= min(n, total/100*23)
		case "Buffers":
			n = total / 100 * 2
		case "Cached":
			n += total / 100 * 31
		}
		return fmt.Sprintf("%-15s %8d kB", f[1]+":", n)
	})
}

var zeroCounter = regexp.MustCompile(`(?m)^(intr|ctxt|processes|softirq) 0\b`)

// statistics fills in what gVisor does not count, from the time it claims to run.
func statistics(k *kernel.Kernel, text string) string {
	up := k.MonotonicClock().Now().Seconds()
	a := map[string]int64{"intr": 1903, "ctxt": 3307, "processes": 2, "softirq": 911}
	return zeroCounter.ReplaceAllStringFunc(text, func(s string) string {
		name, _, _ := strings.Cut(s, " ")
		return name + " " + strconv.FormatInt(up*a[name], 10)
	})
}

// upTime adds how long the processors were idle.
func upTime(k *kernel.Kernel, text string) string {
	up, err := strconv.ParseFloat(strings.Fields(text + " x")[0], 64)
	if err != nil {
		return text
	}
	return fmt.Sprintf("%.2f %.2f\n", up, up*float64(k.ApplicationCores())*0.93)
}
