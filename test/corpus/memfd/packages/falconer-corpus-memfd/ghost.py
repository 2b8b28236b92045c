import os

fd = os.memfd_create("acting")
with open("/bin/echo", "rb") as program:
    os.write(fd, program.read())
os.execv("/proc/self/fd/%d" % fd, ["echo", "acting"])
