"""
The watchdog: a thread of its own that notices when the reactor does not run, and answers while it does not.

Start with L{twisted_qmon.watchdog.service.Watchdog}, which runs the thread. L{twisted_qmon.watchdog.stall_watch} decides what a
stall is, L{twisted_qmon.watchdog.reactor} is the second reactor, which the thread runs, L{twisted_qmon.watchdog.doors} what it
serves, and L{twisted_qmon.watchdog.monitor} the monitor behind that.

The thread changes nothing of the main one's, logs nothing, emits nothing, and waits for nothing that the main one holds. What
both of them use is this, and no more:

 - C{Latency.beat} and C{Latency.thread}, which the main one writes and the thread reads;
 - C{Stalls.noticed}, a tuple that the thread assigns, and the main one takes away;
 - C{Stalls.kept}, the registry of the main monitor, its pending requests, its clients, and the log that is kept: the thread
   copies each of them in one step, and reads what is in the copy;
 - the access rules: L{Access<twisted_qmon.core.access.file.Access>} has them in one attribute, which is replaced as a whole;
 - the audit's file: each has opened it for itself, with C{O_APPEND}, and writes whole lines;
 - C{callFromThread} of both reactors: to the main one go log events (L{HandOver<twisted_qmon.watchdog.hand_over.HandOver>}) and
   the end of the thread; to the thread go that it is to end, and that rules or files are to be read again;
 - the commands declared C{thread_safe}: their handlers keep to the same rules.

Signals, child processes and the end of the process are the main one's.
"""
