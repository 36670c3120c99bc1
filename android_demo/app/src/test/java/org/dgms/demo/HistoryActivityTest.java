package org.dgms.demo;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;
import static org.robolectric.Shadows.shadowOf;

import android.content.ContentResolver;
import android.content.DialogInterface;
import android.content.Intent;
import android.database.Cursor;
import android.net.Uri;
import android.provider.OpenableColumns;
import android.view.View;
import android.widget.ListView;
import android.widget.PopupMenu;
import android.widget.TextView;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileNotFoundException;
import java.io.InputStream;
import java.nio.file.Files;
import org.dgms.demo.bench.ResultStore;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;
import org.robolectric.fakes.RoboMenuItem;
import org.robolectric.shadows.ShadowPopupMenu;

/** Earlier results: listed, opened, shared byte for byte, deleted; damaged ones among them. */
@RunWith(AppTestRunner.class)
@Config(sdk = 35)
public final class HistoryActivityTest {
  @Before
  public void loadRuntime() throws Exception {
    Screens.loadRuntime();
    RuntimeEnvironment.setQualifiers(Screens.PHONE);
  }

  @Test
  public void withoutResultsItSaysSo() throws Exception {
    ActivityController<HistoryActivity> controller = Screens.history();
    assertEquals("No results yet", Screens.text(controller.get(), R.id.message_title));
    Screens.picture(controller.get(), "history_empty");
  }

  @Test
  public void newestFirstAndDamagedOnesAsSuch() throws Exception {
    File digits = Screens.run(Screens.quick("digits_w4", 10));
    Screens.await("another second", 5, new NextSecond()::passed);
    File shapes = Screens.run(Screens.quick("shapes_w4", 10));
    File folder = Results.store(Screens.app()).folder();
    // The same result as of a hot device, on the day before.
    Screens.write(
        new File(folder, "hot.json"),
        Screens.read(digits)
            .replaceFirst("\"throttled\": *(true|false|null)", "\"throttled\": true")
            .replaceFirst("\"created\": *\"[^\"]*\"", "\"created\": \"2026-01-02T03:04:05Z\""));
    Screens.write(new File(folder, "cut.json"), Screens.read(digits).substring(0, 1000));

    ActivityController<HistoryActivity> controller = Screens.history();
    ListView list = controller.get().findViewById(R.id.history);
    assertEquals(4, list.getCount());
    assertEquals("Shapes, 4-bit weights", row(list, 0, R.id.row_title));
    assertTrue(
        row(list, 0, R.id.row_verdict),
        row(list, 0, R.id.row_verdict).contains("× the time of XNNPACK"));
    assertEquals("Digits, 4-bit weights", row(list, 1, R.id.row_title));
    assertTrue(row(list, 2, R.id.row_note), row(list, 2, R.id.row_note).endsWith("· throttled"));
    assertEquals("cut.json", row(list, 3, R.id.row_title));
    assertEquals("Damaged file", row(list, 3, R.id.row_verdict));
    Screens.picture(controller.get(), "history_with_damaged");

    list.performItemClick(list.getChildAt(0), 0, 0);
    Intent open = shadowOf(controller.get()).getNextStartedActivity();
    assertEquals(ResultActivity.class.getName(), open.getComponent().getClassName());
    assertEquals(shapes.getName(), open.getStringExtra("file"));
  }

  @Test
  public void aDamagedResultIsExplained() throws Exception {
    File file = new File(Results.store(Screens.app()).folder(), "cut.json");
    Screens.write(file, "{\"schema\": \"dgms-bench\"");
    ActivityController<ResultActivity> controller = Screens.result(file);
    assertTrue(Screens.isShown(controller.get(), R.id.message));
    assertTrue(Screens.text(controller.get(), R.id.message_text).contains("cut.json"));
    Screens.picture(controller.get(), "result_damaged");
  }

  @Test
  public void sharingGivesTheVeryBytes() throws Exception {
    File file = Screens.run(Screens.quick("digits_w4", 10));
    ActivityController<HistoryActivity> controller = Screens.history();
    choose(controller.get(), R.id.share);
    Intent send = sent(controller.get());
    assertEquals("application/json", send.getType());
    Uri uri = send.getParcelableExtra(Intent.EXTRA_STREAM, Uri.class);
    assertTrue((send.getFlags() & Intent.FLAG_GRANT_READ_URI_PERMISSION) != 0);
    assertEquals(uri, send.getClipData().getItemAt(0).getUri());
    assertArrayEquals(Files.readAllBytes(file.toPath()), bytes(uri));
    ContentResolver resolver = Screens.app().getContentResolver();
    assertEquals("application/json", resolver.getType(uri));
    try (Cursor cursor = resolver.query(uri, null, null, null, null)) {
      assertTrue(cursor.moveToFirst());
      assertEquals(
          file.getName(),
          cursor.getString(cursor.getColumnIndexOrThrow(OpenableColumns.DISPLAY_NAME)));
      assertEquals(
          file.length(), cursor.getLong(cursor.getColumnIndexOrThrow(OpenableColumns.SIZE)));
    }

    choose(controller.get(), R.id.share_csv);
    send = sent(controller.get());
    assertEquals("text/csv", send.getType());
    uri = send.getParcelableExtra(Intent.EXTRA_STREAM, Uri.class);
    assertTrue(uri.toString(), uri.toString().endsWith(".csv"));
    assertEquals(ResultStore.read(file).toCsv(), new String(bytes(uri), "UTF-8"));
  }

  @Test
  public void theProviderGivesNothingElse() throws Exception {
    File file = Screens.run(Screens.quick("digits_w4", 10));
    ContentResolver resolver = Screens.app().getContentResolver();
    String[] outside = {
      "content://org.dgms.demo.results/json/..%2Fmodels%2Fx.json",
      "content://org.dgms.demo.results/json/.hidden.json",
      "content://org.dgms.demo.results/json/none.json",
      "content://org.dgms.demo.results/" + file.getName(),
      "content://org.dgms.demo.results/json/a/" + file.getName(),
    };
    for (String uri : outside) {
      try {
        resolver.openInputStream(Uri.parse(uri)).close();
        fail(uri + " was opened");
      } catch (FileNotFoundException expected) {
        assertTrue(expected.getMessage(), expected.getMessage().contains("Received: "));
      }
    }
    try {
      resolver.openOutputStream(ResultsProvider.json(file), "w");
      fail("a result was opened for writing");
    } catch (SecurityException expected) {
      assertTrue(expected.getMessage(), expected.getMessage().contains("mode w"));
    }
    try {
      resolver.delete(ResultsProvider.json(file), null, null);
      fail("a result was deleted");
    } catch (UnsupportedOperationException expected) {
      assertTrue(file.isFile());
    }
  }

  @Test
  public void deletingAsksFirst() throws Exception {
    File file = Screens.run(Screens.quick("digits_w4", 10));
    ActivityController<HistoryActivity> controller = Screens.history();
    choose(controller.get(), R.id.delete);
    Screens.press(DialogInterface.BUTTON_NEGATIVE);
    assertTrue("kept", file.isFile());
    choose(controller.get(), R.id.delete);
    Screens.press(DialogInterface.BUTTON_POSITIVE);
    assertFalse(file.exists());
    Screens.await("the list is empty", 10, () -> Screens.isShown(controller.get(), R.id.message));
  }

  @Test
  public void theResultScreenSharesAndDeletesToo() throws Exception {
    File file = Screens.run(Screens.quick("digits_w4", 10));
    ActivityController<ResultActivity> controller = Screens.result(file);
    controller.get().onOptionsItemSelected(new RoboMenuItem(R.id.share));
    Uri uri = sent(controller.get()).getParcelableExtra(Intent.EXTRA_STREAM, Uri.class);
    assertArrayEquals(Files.readAllBytes(file.toPath()), bytes(uri));
    controller.get().onOptionsItemSelected(new RoboMenuItem(R.id.delete));
    Screens.press(DialogInterface.BUTTON_POSITIVE);
    assertFalse(file.exists());
    assertTrue(controller.get().isFinishing());
  }

  private static void choose(HistoryActivity activity, int item) {
    ListView list = activity.findViewById(R.id.history);
    list.getChildAt(0).findViewById(R.id.row_more).performClick();
    PopupMenu menu = ShadowPopupMenu.getLatestPopupMenu();
    shadowOf(menu).getOnMenuItemClickListener().onMenuItemClick(menu.getMenu().findItem(item));
  }

  private static Intent sent(android.app.Activity activity) {
    Intent chooser = shadowOf(activity).getNextStartedActivity();
    assertEquals(Intent.ACTION_CHOOSER, chooser.getAction());
    return chooser.getParcelableExtra(Intent.EXTRA_INTENT, Intent.class);
  }

  private static byte[] bytes(Uri uri) throws Exception {
    ByteArrayOutputStream all = new ByteArrayOutputStream();
    try (InputStream in = Screens.app().getContentResolver().openInputStream(uri)) {
      byte[] buffer = new byte[4096];
      for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
        all.write(buffer, 0, count);
      }
    }
    return all.toByteArray();
  }

  private static String row(ListView list, int position, int id) {
    View row = list.getAdapter().getView(position, null, list);
    return ((TextView) row.findViewById(id)).getText().toString();
  }

  /** Results are named and sorted by the second. */
  private static final class NextSecond {
    private final long start = System.currentTimeMillis() / 1000;

    boolean passed() {
      return System.currentTimeMillis() / 1000 > start;
    }
  }
}
