/* Installs again, for each plugin with that one alone allowed, and runs the project's own scripts last. Says through marks
   whose code runs; this process runs none of it. Arguments: the plugins' names. */
function mark($state, $index, $reason = "") { @opendir("/dev/null/import/$state/$index" . ($reason === "" ? "" : "/$reason")); }
function remove($dir) { foreach (is_dir($dir) && !is_link($dir) ? array_diff(scandir($dir), [".", ".."]) : [] as $f) remove("$dir/$f"); is_dir($dir) && !is_link($dir) ? @rmdir($dir) : @unlink($dir); }
$names = array_slice($argv, 1);
$kept = file_get_contents("composer.json");
$config = json_decode($kept);
$lock = file_get_contents("composer.lock");
foreach ($names as $index => $name) {
    $allowed = new stdClass();
    foreach ($names as $n) $allowed->$n = $n === $name;
    $own = clone $config;
    $own->config = isset($config->config) ? clone $config->config : new stdClass();
    $own->config->{"allow-plugins"} = $allowed;
    file_put_contents("composer.json", json_encode($own, JSON_UNESCAPED_SLASHES | JSON_PRETTY_PRINT));
    remove(getenv("COMPOSER_VENDOR_DIR"));
    mark("run", $index);
    passthru("composer install --no-interaction --no-progress --no-scripts --prefer-dist", $code);
    mark("own", 0);
    $code === 0 ? mark("ok", $index) : mark("failed", $index, "Status-$code");
    file_put_contents("composer.lock", $lock);
}
file_put_contents("composer.json", $kept);
if ($names) {
    remove(getenv("COMPOSER_VENDOR_DIR"));
    passthru("composer install --no-interaction --no-progress --no-plugins --no-scripts --prefer-dist");
}
mark("own", 0);
foreach (["post-install-cmd", "post-autoload-dump"] as $event)
    if (isset($config->scripts->$event)) passthru("composer run-script --no-interaction --no-plugins " . escapeshellarg($event));
