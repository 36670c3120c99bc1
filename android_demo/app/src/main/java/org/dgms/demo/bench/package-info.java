/**
 * The benchmark itself: what is run, how it is timed, what a result is.
 *
 * <p>Nothing here uses android.*, so that the same classes run on a desktop's JVM over Android's own TFLite,
 * where the host checks compare them; {@link org.dgms.demo.bench.Environment} is what they need of the system
 * around them.
 *
 * <p>From outside: {@link org.dgms.demo.bench.ModelCatalog} finds models, {@link
 * org.dgms.demo.bench.BenchmarkRunner} runs one with {@link org.dgms.demo.bench.BenchmarkSettings}, {@link
 * org.dgms.demo.bench.ResultStore} keeps its {@link org.dgms.demo.bench.BenchmarkResult}. Inside, {@code
 * PathGroup} takes the paths through the phases of a run, and a {@code PathSession} is one of them, opened.
 */
package org.dgms.demo.bench;
