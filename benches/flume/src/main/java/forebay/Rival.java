package forebay;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

import org.apache.flume.Context;
import org.apache.flume.Event;
import org.apache.flume.Transaction;
import org.apache.flume.channel.file.FileChannel;
import org.apache.flume.conf.Configurables;
import org.apache.flume.event.EventBuilder;

/**
 * Flume's own file channel under the same work as the other rivals, in the same way: the clock runs
 * in legs, each puts or takes at most the backlog, and between legs what waits is taken or filled up
 * and no clock runs. Prints one line of JSON.
 *
 * <p>One process does one cell. Its settings are Flume's defaults but for its directories, a
 * capacity that holds the backlog, and the least free space, which is lowered so that a small disk
 * will do. A sync in each transaction is the default.
 */
public final class Rival {
    private static final int BODY_BYTES = 512;
    private static final int POOL = 2000;
    private static final int ASIDE_BATCH = 1000;
    private static final int CAPACITY_LEAST = 1_000_000;
    /** How many commits wait between a producer and a taker. */
    private static final int BOUND_COMMITS = 8;

    private final Map<String, String> options;
    private final FileChannel channel;
    /** The events in a circle: bodies that do not compress, which begin with their number. */
    private final byte[][] bodies = new byte[POOL][];
    private final int batch;
    private final int producers;
    private final long backlog;
    private long put;
    private long waiting;
    /** Which event must come out next. */
    private long next;

    public static void main(String[] args) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (int at = 0; at + 1 < args.length; at += 2) {
            options.put(args[at].substring(2), args[at + 1]);
        }
        int status = 0;
        try {
            new Rival(options).run(options.get("mode"));
        } catch (Throwable problem) {
            problem.printStackTrace();
            status = 1;
        }
        System.exit(status);
    }

    private Rival(Map<String, String> options) {
        this.options = options;
        batch = Integer.parseInt(options.getOrDefault("batch", "1"));
        producers = Integer.parseInt(options.getOrDefault("producers", "1"));
        backlog = number("backlog", number("events", 0));
        channel = new FileChannel();
        long random = 0x9E3779B97F4A7C15L;
        for (int index = 0; index < POOL; index++) {
            byte[] body = new byte[BODY_BYTES];
            for (int at = 4; at < BODY_BYTES; at++) {
                random ^= random << 13;
                random ^= random >>> 7;
                random ^= random << 17;
                body[at] = (byte) random;
            }
            for (int at = 0; at < 4; at++) {
                body[at] = (byte) (index >>> (8 * at));
            }
            bodies[index] = body;
        }
    }

    private void open() {
        String dir = options.get("dir");
        Context context = new Context();
        context.put("checkpointDir", dir + File.separator + "checkpoint");
        context.put("dataDirs", dir + File.separator + "data");
        context.put("capacity", Long.toString(Math.max(CAPACITY_LEAST, 2 * backlog)));
        context.put("transactionCapacity", "10000");
        context.put("minimumRequiredSpace", "1048576");
        if ("fill".equals(options.get("mode"))) {
            // So that there soon is a checkpoint behind the last put.
            context.put("checkpointInterval", "1000");
        }
        channel.setName("rival");
        Configurables.configure(channel, context);
        channel.start();
        if (!channel.isOpen()) {
            throw new IllegalStateException("the channel does not open; its log says why");
        }
    }

    private void run(String mode) throws Exception {
        if ("first".equals(mode)) {
            first();
            return;
        }
        open();
        if ("fill".equals(mode)) {
            fill(backlog);
            System.out.println("rivals-filled");
            System.out.flush();
            Thread.sleep(Long.MAX_VALUE);
            return;
        }
        long warm = number("warm-millis", 0) * 1_000_000;
        long limit = number("millis", 0) * 1_000_000;
        long started = System.nanoTime();
        while (System.nanoTime() - started < warm) {
            ready(mode);
            leg(mode, warm - (System.nanoTime() - started), backlog);
        }
        long[] all = new long[2];
        if (options.containsKey("marked-commits")) {
            long commits = number("marked-commits", 0);
            ready(mode);
            System.out.println("rivals-begin");
            all = leg(mode, Long.MAX_VALUE, commits * batch);
            System.out.println("rivals-end");
        } else {
            while (all[1] < limit) {
                ready(mode);
                long[] one = leg(mode, limit - all[1], backlog);
                all[0] += one[0];
                all[1] += one[1];
            }
        }
        drain();
        System.out.println(String.format(Locale.ROOT,
                "{\"events\":%d,\"commits\":%d,\"seconds\":%.6f}",
                all[0] * batch, all[0], all[1] / 1e9));
        System.out.flush();
        channel.stop();
    }

    /** Opens a channel that another process left, and takes its first event. */
    private void first() throws Exception {
        long started = System.nanoTime();
        open();
        take(1);
        double millis = (System.nanoTime() - started) / 1e6;
        long peak = 0;
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                peak = Long.parseLong(line.replaceAll("[^0-9]", ""));
            }
        }
        System.out.println(String.format(Locale.ROOT, "{\"ms\":%.3f,\"peak_kib\":%d}", millis, peak));
        System.out.flush();
        // What it took has served; a checkpoint at the end would measure nothing.
        Runtime.getRuntime().halt(0);
    }

    private long number(String name, long otherwise) {
        String value = options.get(name);
        return value == null ? otherwise : Long.parseLong(value);
    }

    private void ready(String mode) throws Exception {
        if ("take".equals(mode)) {
            fill(backlog);
        } else {
            drain();
        }
    }

    private long[] leg(String mode, long limit, long eventsMax) throws Exception {
        switch (mode) {
            case "put":
                return putLeg(limit, eventsMax);
            case "take":
                return takeLeg(limit, eventsMax);
            case "both":
                return bothLeg(limit, eventsMax);
            default:
                throw new IllegalArgumentException("no mode is named " + mode);
        }
    }

    private void put(long from, int events) throws Exception {
        Transaction transaction = channel.getTransaction();
        transaction.begin();
        try {
            for (int at = 0; at < events; at++) {
                Map<String, String> headers = new HashMap<>();
                headers.put("host", "node-17");
                byte[] body = bodies[(int) ((from + at) % POOL)];
                channel.put(EventBuilder.withBody(body, headers));
            }
            transaction.commit();
        } catch (Throwable problem) {
            transaction.rollback();
            throw problem;
        } finally {
            transaction.close();
        }
    }

    /** Takes so many events, in one transaction; fails if fewer wait. */
    private void take(int events) throws Exception {
        Transaction transaction = channel.getTransaction();
        transaction.begin();
        try {
            for (int at = 0; at < events; at++) {
                check(channel.take());
            }
            transaction.commit();
        } catch (Throwable problem) {
            transaction.rollback();
            throw problem;
        } finally {
            transaction.close();
        }
    }

    private void check(Event event) {
        if (event == null) {
            throw new IllegalStateException("a take brought nothing, though more wait");
        }
        byte[] body = event.getBody();
        int index = 0;
        for (int at = 3; at >= 0; at--) {
            index = index << 8 | body[at] & 0xff;
        }
        if (producers == 1 && index != next % POOL) {
            throw new IllegalStateException(
                    "event " + index + " came out where " + next % POOL + " was put");
        }
        if (body.length != BODY_BYTES || event.getHeaders().size() != 1) {
            throw new IllegalStateException("event " + index + " came out changed");
        }
        next++;
    }

    private void fill(long events) throws Exception {
        while (waiting < events) {
            int some = (int) Math.min(ASIDE_BATCH, events - waiting);
            put(put, some);
            put += some;
            waiting += some;
        }
    }

    private void drain() throws Exception {
        while (waiting > 0) {
            int some = (int) Math.min(ASIDE_BATCH, waiting);
            take(some);
            waiting -= some;
        }
    }

    private long[] putLeg(long limit, long eventsMax) throws Exception {
        AtomicLong left = new AtomicLong(Math.max(eventsMax / batch, 1));
        CyclicBarrier barrier = new CyclicBarrier(producers);
        long from = put;
        Callable<long[]> produce = () -> {
            barrier.await();
            long started = System.nanoTime();
            long commits = 0;
            while (left.getAndDecrement() > 0) {
                put(from + commits * batch, batch);
                commits++;
                if (System.nanoTime() - started >= limit) {
                    break;
                }
            }
            return new long[] {commits, System.nanoTime() - started};
        };
        long[] all = new long[2];
        for (long[] one : inThreads(producers, produce)) {
            all[0] += one[0];
            all[1] = Math.max(all[1], one[1]);
        }
        put += all[0] * batch;
        waiting += all[0] * batch;
        return all;
    }

    private long[] takeLeg(long limit, long eventsMax) throws Exception {
        long commits = 0;
        long started = System.nanoTime();
        while ((commits + 1) * batch <= eventsMax && waiting >= batch) {
            take(batch);
            waiting -= batch;
            commits++;
            if (System.nanoTime() - started >= limit) {
                break;
            }
        }
        return new long[] {commits, System.nanoTime() - started};
    }

    private long[] bothLeg(long limit, long eventsMax) throws Exception {
        Gate gate = new Gate();
        AtomicBoolean isProducer = new AtomicBoolean(true);
        long from = put;
        long commitsMax = eventsMax / batch;
        long started = System.nanoTime();
        Callable<long[]> work = () -> {
            long commits = 0;
            try {
                if (isProducer.getAndSet(false)) {
                    while (commits < commitsMax && System.nanoTime() - started < limit
                            && gate.waitForRoom()) {
                        put(from + commits * batch, batch);
                        commits++;
                        gate.change(1);
                    }
                    return new long[] {commits, 0};
                }
                while (gate.waitForOne()) {
                    take(batch);
                    commits++;
                    gate.change(-1);
                }
                return new long[] {0, commits};
            } finally {
                gate.close();
            }
        };
        long produced = 0;
        long took = 0;
        for (long[] one : inThreads(2, work)) {
            produced += one[0];
            took += one[1];
        }
        long spent = System.nanoTime() - started;
        put += produced * batch;
        waiting += (produced - took) * batch;
        return new long[] {took, spent};
    }

    private static List<long[]> inThreads(int threads, Callable<long[]> work) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        try {
            List<Future<long[]>> futures = new ArrayList<>();
            for (int at = 0; at < threads; at++) {
                futures.add(pool.submit(work));
            }
            List<long[]> done = new ArrayList<>();
            for (Future<long[]> future : futures) {
                done.add(future.get());
            }
            return done;
        } finally {
            pool.shutdown();
        }
    }

    /** How many commits wait between a producer and a taker, who sleep where they must wait. */
    private static final class Gate {
        private int commits;
        private boolean closed;

        synchronized void change(int by) {
            commits += by;
            notifyAll();
        }

        synchronized void close() {
            closed = true;
            notifyAll();
        }

        synchronized boolean waitForRoom() throws InterruptedException {
            while (commits >= BOUND_COMMITS && !closed) {
                wait();
            }
            return !closed;
        }

        synchronized boolean waitForOne() throws InterruptedException {
            while (commits == 0 && !closed) {
                wait();
            }
            return commits > 0;
        }
    }
}
