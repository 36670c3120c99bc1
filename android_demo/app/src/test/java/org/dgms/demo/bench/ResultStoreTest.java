package org.dgms.demo.bench;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.Before;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

public class ResultStoreTest {
  @Rule public final TemporaryFolder temporary = new TemporaryFolder();
  private File folder;
  private ResultStore store;

  @Before
  public void make() {
    folder = new File(temporary.getRoot(), "a/results"); // made when it is needed
    store = new ResultStore(folder);
  }

  private BenchmarkResult result(String model, String created) throws IOException {
    return TestResults.full(temporary.getRoot(), model, created);
  }

  @Test
  public void whatIsSavedIsRead() throws Exception {
    assertTrue(store.list().isEmpty());
    BenchmarkResult result = result("net", "2026-05-31T16:05:09Z");
    File file = store.save(result);
    assertEquals("20260531T160509Z-net.json", file.getName());
    assertEquals(result.toJson(), ResultStore.read(file).toJson());
    assertEquals(1, folder.list().length);
  }

  @Test
  public void savingTwiceKeepsBoth() throws Exception {
    BenchmarkResult result = result("net", "2026-05-31T16:05:09Z");
    store.save(result);
    assertEquals("20260531T160509Z-net-2.json", store.save(result).getName());
    assertEquals(2, store.list().size());
  }

  @Test
  public void newestFirstAndDamagedOnesLast() throws Exception {
    store.save(result("old", "2025-01-01T00:00:00Z"), "a");
    store.save(result("new", "2026-01-01T00:00:00Z"), "b");
    write("z.json", "{ \"schema\": ");
    write("y.json", "{\"schema\": \"other\"}");
    write("notes.txt", "left alone");
    write(".hidden.json", "left alone");
    List<ResultStore.Entry> entries = store.list();
    assertEquals(4, entries.size());
    assertEquals("new", entries.get(0).result().model().name());
    assertEquals("old", entries.get(1).result().model().name());
    assertNull(entries.get(0).problem());
    for (ResultStore.Entry damaged : entries.subList(2, 4)) {
      assertNull(damaged.result());
      assertTrue(damaged.problem(), damaged.problem().startsWith(damaged.file().getName() + ": "));
    }
  }

  @Test
  public void aTruncatedFileOfAnyLengthIsDamagedNotACrash() throws Exception {
    String json = result("net", "2026-05-31T16:05:09Z").toJson();
    for (int length = 0; length < json.trim().length(); length += 7) {
      write("cut.json", json.substring(0, length));
      assertNotNull("" + length, store.list().get(0).problem());
    }
  }

  @Test
  public void readersNeverSeeAPart() throws Exception {
    BenchmarkResult result = result("net", "2026-05-31T16:05:09Z");
    store.save(result, "same");
    AtomicReference<Throwable> problem = new AtomicReference<Throwable>();
    Thread reader =
        new Thread(
            () -> {
              try {
                for (int i = 0; i < 300; i++) {
                  List<ResultStore.Entry> entries = store.list();
                  assertEquals(1, entries.size());
                  assertNull(entries.get(0).problem());
                }
              } catch (Throwable e) {
                problem.set(e);
              }
            });
    reader.start();
    while (reader.isAlive()) {
      store.save(result, "same");
    }
    reader.join();
    assertNull(problem.get());
    assertEquals("nothing temporary is left", 1, folder.list().length);
  }

  @Test
  public void aFolderThatCannotBeMadeIsAnError() throws Exception {
    File file = temporary.newFile("file");
    ResultStore blocked = new ResultStore(new File(file, "results"));
    BenchmarkResult result = result("net", "2026-05-31T16:05:09Z");
    assertThrows(IOException.class, () -> blocked.save(result));
    assertTrue(blocked.list().isEmpty());
  }

  @Test
  public void givenNamesAreChecked() throws Exception {
    BenchmarkResult result = result("net", "2026-05-31T16:05:09Z");
    for (String name : new String[] {"../up", "a/b", "", ".hidden", "a b"}) {
      assertThrows(name, IllegalArgumentException.class, () -> store.save(result, name));
    }
    assertEquals("mine.json", store.save(result, "mine.json").getName());
  }

  @Test
  public void deletesOnlyItsOwn() throws Exception {
    File file = store.save(result("net", "2026-05-31T16:05:09Z"));
    store.delete(file);
    assertFalse(file.exists());
    store.delete(file); // gone is gone
    File other = temporary.newFile("other.json");
    assertThrows(IllegalArgumentException.class, () -> store.delete(other));
    assertTrue(other.exists());
  }

  private void write(String name, String text) throws IOException {
    Files.writeAtomically(new File(folder, name), text.getBytes(StandardCharsets.UTF_8));
  }
}
